"""Convolutions of small images as one matrix product: their weights are read once, from front to back.

ONNX Runtime's own convolution reads all filters anew for every row of pixels. Where an image has a handful of pixels
and the weights do not stay in the cache from one call to the next, waiting for them is most of the time.
"""

import math

import numpy as np

from pruning.onnx.columns import Draft, Layer, Rewrite, taps
from pruning.onnx.trim import Window

MOST_PIXELS = 16  # of the output: with more, and with more examples, there is work enough for each weight
LEAST_BYTES = 2**16  # of the weights: less stays in the cache
TYPES = (np.dtype(np.float32),)  # others have no fast product
BIAS_IS_OPTIONAL = 11


def product(layer: Layer) -> Rewrite | None:
    """Channels last, the pixels that each place of the kernel sees side by side, times the weights.

    The weight is stored as (out, living places of the kernel * in). None where the size of the image does not follow
    from the graph's inputs, and where the runtime's own convolution is as fast: many pixels, few weights, groups.
    """
    window = Window.of(layer) if layer.node.op_type == "Conv" and layer.attribute("group", 1) == 1 else None
    if window is None or not layer.sizes or layer.W.dtype not in TYPES or layer.W.nbytes < LEAST_BYTES:
        return None
    padded = [b + s + e for b, s, e in zip(window.begins, layer.sizes, window.ends, strict=True)]
    live = np.flatnonzero(layer.live.reshape(len(layer.live), -1).any(0))
    seen, sizes = _seen(window, padded)
    if not 0 < math.prod(sizes) <= MOST_PIXELS or not len(live):
        return None
    draft, (out, inputs), rank = Draft(layer), layer.W.shape[:2], len(sizes)
    x = draft.node("Transpose", [layer.node.input[0]], perm=[0, *range(2, 2 + rank), 1])
    x = draft.pad(x, [0, *window.begins, 0, 0, *window.ends, 0])
    if not np.array_equal(seen[:, live].reshape(-1), np.arange(math.prod(padded))):
        x = draft.node("Reshape", [x, draft.tensor(np.array([0, math.prod(padded), inputs]))])
        x = draft.gather(x, seen[:, live].reshape(-1), 1)
    x = draft.node("Reshape", [x, draft.tensor(np.array([-1, len(live) * inputs]))])
    y = draft.node("Gemm", [x, layer.node.input[1], *_bias(draft, out)], transB=1)
    y = draft.node("Reshape", [y, draft.tensor(np.array([-1, *sizes, out]))])
    draft.last("Transpose", [y], perm=[0, 1 + rank, *range(1, 1 + rank)])
    W = layer.W.reshape(out, inputs, taps(layer.W))[:, :, live].swapaxes(1, 2)
    return Rewrite(draft.nodes, W.reshape(out, -1), draft.tensors)


def _seen(window: Window, padded: list[int]) -> tuple[np.ndarray, list[int]]:
    """(pixels of the output, places of the kernel) the pixel of the padded input; and the output's sizes."""
    reach = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    sizes = [(n - r) // s + 1 for n, r, s in zip(padded, reach, window.strides, strict=True)]
    if min(sizes) < 1:
        return np.zeros((0, 0), np.int64), [0]
    axes = [
        np.arange(n)[:, None] * s + np.arange(k) * d
        for n, s, k, d in zip(sizes, window.strides, window.kernel, window.dilations, strict=True)
    ]
    found = np.zeros((1, 1), np.int64)
    for axis, length in zip(axes, padded, strict=True):
        found = (found[:, None, :, None] * length + axis[None, :, None, :]).reshape(
            found.shape[0] * axis.shape[0], found.shape[1] * axis.shape[1]
        )
    return found, sizes


def _bias(draft: Draft, out: int) -> list[str]:
    found = [name for name in draft.layer.node.input[2:] if name]
    return found or ([draft.tensor(np.zeros(out, np.float32))] if draft.layer.opset < BIAS_IS_OPTIONAL else [])
