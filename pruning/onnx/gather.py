"""Layers that read their living inputs alone: other graphs for the same function, where columns are zero.

A column of a convolution's weight (out, in, *kernel) is one position (in, *kernel) in all filters; that of a dense
layer's weight is one input.
"""

from collections.abc import Sequence

import numpy as np

from pruning.onnx.columns import Draft, Layer, Rewrite, taps
from pruning.onnx.trim import Window, narrow

BLOCK = 16  # channels that ONNX Runtime computes together, at most: a depthwise convolution of other counts is slow
ALIGNED = 4  # it takes other counts of input channels for no blocked convolution
SLICE_HAS_STEPS = 10


def shifted(layer: Layer) -> Rewrite | None:
    """Gather of a channel for each living column, a depthwise convolution that moves each, a 1x1 convolution.

    The depthwise kernels hold a single one; they are gathered from all there are, which ONNX Runtime does as it loads
    the file. Its blocked layout stays from there to the next Gather, whatever stride, dilation and padding there are.
    """
    if layer.node.op_type != "Conv":
        return None
    small = narrow(layer)
    groups, (out, inputs), kernel = small.attribute("group", 1), small.W.shape[:2], small.W.shape[2:]
    by_group = small.W.reshape(groups, out // groups, -1)
    live = [np.flatnonzero((rows != 0).any(0)) for rows in by_group] if groups > 1 else [np.flatnonzero(small.live)]
    most, step = max(map(len, live)), BLOCK if taps(small.W) > 1 else ALIGNED
    count = -(-most // step) * step
    if not most or count >= by_group.shape[2]:
        return None
    columns, W = np.zeros((groups, count), np.int64), np.zeros((groups, out // groups, count), small.W.dtype)
    for g, places in enumerate(live):
        columns[g, : len(places)], W[g, :, : len(places)] = places, by_group[g][:, places]
    draft = Draft(small)
    channels = (columns // taps(small.W) + inputs * np.arange(groups)[:, None]).reshape(-1)
    x = draft.gather(small.node.input[0], channels, 1)
    W = W.reshape(out, count, *[1] * len(kernel))
    if taps(small.W) == 1:
        return draft.ended(x, W)
    x = _moved(draft, x, columns.reshape(-1) % taps(small.W))
    plain = dict.fromkeys(("strides", "pads", "dilations", "auto_pad"))
    return draft.ended(x, W, kernel_shape=[1] * len(kernel), **plain)


def _moved(draft: Draft, x: str, places: np.ndarray) -> str:
    """Each channel as its place of the kernel sees it."""
    layer = draft.layer
    used, which = np.unique(places, return_inverse=True)
    ones = np.eye(taps(layer.W), dtype=layer.W.dtype)[used].reshape(len(used), 1, *layer.W.shape[2:])
    kernels = draft.gather(draft.tensor(ones), which, 0)
    own = {a.name: layer.attribute(a.name) for a in layer.node.attribute if a.name != "group"}
    return draft.node("Conv", [x, kernels], group=len(places), **{**own, "kernel_shape": layer.W.shape[2:]})


def windows(layer: Layer) -> Rewrite | None:
    """For each place of the kernel its living channels, padded and cut as it sees them; a 1x1 convolution of all."""
    small = narrow(layer)
    window = Window.of(small) if layer.node.op_type == "Conv" and layer.attribute("group", 1) == 1 else None
    columns, live = small.W.reshape(*small.W.shape[:2], -1), small.live.reshape(len(small.live), -1)
    if window is None or live.all() or not live.any():
        return None
    if layer.opset < SLICE_HAS_STEPS and any(s != 1 for s in window.strides):
        return None
    draft, parts = Draft(small), []
    for place in np.flatnonzero(live.any(0)):
        channels = np.flatnonzero(live[:, place])
        is_whole = len(channels) == live.shape[0]
        x = small.node.input[0] if is_whole else draft.gather(small.node.input[0], channels, 1)
        parts.append(_cut(draft, x, window, np.unravel_index(place, window.kernel)))
    x = draft.node("Concat", parts, axis=1) if len(parts) > 1 else parts[0]
    W = np.concatenate([columns[:, live[:, place], place] for place in np.flatnonzero(live.any(0))], axis=1)
    plain = dict.fromkeys(("strides", "pads", "dilations", "auto_pad"))
    one = [1] * len(window.kernel)
    return draft.ended(x, W.reshape(*W.shape, *one), kernel_shape=one, **plain)


def _cut(draft: Draft, x: str, window: Window, place: Sequence[np.intp]) -> str:
    """What one place of the kernel sees: negative numbers of a padding cut."""
    rank = len(window.kernel)
    before = [b - int(p) * d for b, p, d in zip(window.begins, place, window.dilations, strict=True)]
    steps = zip(window.ends, window.kernel, place, window.dilations, strict=True)
    after = [e - (k - 1 - int(p)) * d for e, k, p, d in steps]
    x = draft.pad(x, [0, 0, *before, 0, 0, *after])
    if all(s == 1 for s in window.strides):
        return x
    starts, ends, axes = (
        np.zeros(rank, np.int64),
        np.full(rank, np.iinfo(np.int32).max, np.int64),
        np.arange(2, 2 + rank),
    )
    return draft.node("Slice", [x, *map(draft.tensor, (starts, ends, axes, np.array(window.strides, np.int64)))])


def inputs(layer: Layer) -> Rewrite | None:
    """Gather of the inputs that a dense layer's weights are not all zero for."""
    if layer.node.op_type == "Conv" or layer.W.ndim != 2 or layer.attribute("transA", 0):
        return None
    axis = 1 if layer.attribute("transB", 0) else 0
    live = np.flatnonzero((layer.W != 0).any(1 - axis))
    if not len(live) or len(live) == layer.W.shape[axis]:
        return None
    draft = Draft(layer)
    x = draft.gather(layer.node.input[0], live, 1 if layer.node.op_type == "Gemm" else -1)
    return draft.ended(x, np.take(layer.W, live, axis))
