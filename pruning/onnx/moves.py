"""Operators that move values about: where the labels of channels go."""

import numpy as np
from onnx import NodeProto

from pruning.onnx.labels import CHANNELS, MOST, Channels, Tracer, Unknown
from pruning.onnx.shapes import is_symbol
from pruning.onnx.steps import Ids

Found = tuple[Channels, ...]

SPLIT_READS_SIZES = 13  # the opset since which they are an input


def concat(t: Tracer, node: NodeProto) -> Found:
    """Behind each other along the channels, or along another axis: channel by channel then."""
    known = [t.found.values[name] for name in node.input if name in t.found.values]
    ranks = [len(t.shapes[name]) for name in node.input if name in t.shapes]
    if not known or not ranks:
        raise Unknown
    axis = t.attribute(node, "axis", 1)
    if axis >= 0:
        axis -= ranks[0]
    if any(x.axis != known[0].axis for x in known):
        raise Unknown
    if axis != known[0].axis:
        return (t.joined([t.channels(name) for name in node.input]),)
    sizes = [_size(t, name, axis) for name in node.input]
    parts = [t.reads(name, axis, size) for name, size in zip(node.input, sizes, strict=True)]
    return (Channels(axis, np.concatenate(parts)),)


def _size(t: Tracer, name: str, axis: int) -> int:
    if name in t.found.values:
        return len(t.found.values[name].labels)
    shape = tuple(t.stored[name].dims) if name in t.stored else t.shapes.get(name, ())
    if -axis > len(shape) or is_symbol(shape[axis]):
        raise Unknown
    return int(shape[axis])


def transpose(t: Tracer, node: NodeProto) -> Found:
    """The channels on another axis."""
    x = t.channels(node.input[0])
    rank = t.rank(node.input[0])
    perm = t.attribute(node, "perm", list(range(rank))[::-1])
    return (Channels(list(perm).index(rank + x.axis) - rank, x.labels),)


def squeeze(t: Tracer, node: NodeProto) -> Found:
    """Axes of length 1 gone."""
    x, axes, rank = t.channels(node.input[0]), t.option(node, 1, "axes"), t.rank(node.input[0])
    if axes is None or rank + x.axis in axes % rank:
        raise Unknown
    behind = sum(int(a) > rank + x.axis for a in axes % rank)
    return (Channels(x.axis + behind, x.labels),)


def unsqueeze(t: Tracer, node: NodeProto) -> Found:
    """Axes of length 1 put in."""
    x, axes = t.channels(node.input[0]), t.option(node, 1, "axes")
    if axes is None:
        raise Unknown
    rank = t.rank(node.input[0]) + axes.size
    kept = [i for i in range(rank) if i not in axes % rank]
    return (Channels(kept[x.axis] - rank, x.labels),)


def flatten(t: Tracer, node: NodeProto) -> Found:
    """One row for each example."""
    if t.attribute(node, "axis", 1) != 1:
        raise Unknown
    return _reshaped(t, node, [0, -1])


def reshape(t: Tracer, node: NodeProto) -> Found:
    """As far as it is a flatten, or (batch, channels) back to (batch, channels, 1, 1)."""
    target = t.constant(node.input[1]).tolist()
    if t.attribute(node, "allowzero", 0) and 0 in target:
        raise Unknown
    return _reshaped(t, node, target)


def _reshaped(t: Tracer, node: NodeProto, target: list[int]) -> Found:
    x = t.channels(node.input[0])
    shape = t.shapes.get(node.input[0], ())
    axis = len(shape) + x.axis
    inner, outer = list(shape[axis + 1 :]), list(shape[1:axis])
    numbers = list(target)
    if target[1:2] == [CHANNELS]:
        target = [target[0], len(x.labels), *target[2:]]
    if axis < 1 or len(target) < 2 or is_symbol(np.array([*inner, *outer, *target[1:]])).any():
        raise Unknown
    whole = int(np.prod([*inner, *outer, len(x.labels)], dtype=np.int64))
    rows = target[0] in (0, shape[0])
    dims = [shape[i] if n == 0 and i < len(shape) else n for i, n in enumerate(target)][1:]
    if -1 in dims and rows:
        dims[dims.index(-1)] = whole // max(int(-np.prod(dims)), 1)
    if whole > MOST or -1 in dims or np.prod(dims) != whole or (len(dims) > 1 and (outer or dims[0] != len(x.labels))):
        raise Unknown
    labels = np.tile(np.repeat(x.labels, np.prod(inner, dtype=np.int64)), np.prod(outer, dtype=np.int64))
    labels = labels if len(dims) == 1 else x.labels
    if target[1] > 0:
        copied = is_symbol(target[0]) and rows and not t.attribute(node, "allowzero", 0)
        _counted(t, node, 1, np.array([0 if copied else numbers[0], *numbers[1:]]), 1, labels)
    t.shapes[node.output[0]] = (shape[0], *dims)
    return (Channels(-len(dims), labels),)


def split(t: Tracer, node: NodeProto) -> Found:
    """Parts of the channels, where the sizes are stored."""
    x, rank = t.channels(node.input[0]), t.rank(node.input[0])
    if t.attribute(node, "axis", 0) % rank != rank + x.axis:
        return (x,) * len(node.output)
    sizes = t.option(node, 1, "split")
    n, k = len(x.labels), len(node.output)
    if sizes is None:
        sizes = np.diff(np.minimum(np.arange(k + 1) * -(-n // k), n))
    parts = np.split(x.labels, np.cumsum(sizes)[:-1])
    t.counts(node, 1 if t.opset >= SPLIT_READS_SIZES else "split", sizes, dict(enumerate(parts)))
    t.found.parts += parts
    return tuple(Channels(x.axis, part) for part in parts)


def part(t: Tracer, node: NodeProto) -> Found:
    """A range of the channels, or of positions with all channels."""
    x, rank = t.channels(node.input[0]), t.rank(node.input[0])
    start, end = (t.option(node, i, name) for i, name in ((1, "starts"), (2, "ends")))
    axes = t.option(node, 3, "axes")
    if axes is None and start is not None:
        axes = np.arange(start.size)
    if axes is None:
        raise Unknown
    if rank + x.axis not in axes % rank:
        return (x,)
    place = (axes % rank).tolist().index(rank + x.axis)
    if start is None or end is None or (len(node.input) > 4 and t.constant(node.input[4])[place] != 1):
        raise Unknown
    if is_symbol(start[place]) or is_symbol(end[place]):
        raise Unknown
    first, last, _ = slice(int(start[place]), int(end[place])).indices(len(x.labels))
    t.counts(node, t.source(node, 1, "starts"), start, {place: x.labels[:first]})
    t.counts(node, t.source(node, 2, "ends"), end, {place: x.labels[:last]})
    t.found.parts.append(x.labels[first:last])
    return (Channels(x.axis, x.labels[first:last]),)


def reduce(t: Tracer, node: NodeProto) -> Found:
    """Over positions."""
    x, axes, rank = t.channels(node.input[0]), t.option(node, 1, "axes"), t.rank(node.input[0])
    if axes is None or not axes.size or rank + x.axis in axes % rank:
        raise Unknown
    behind = sum(int(a) > rank + x.axis for a in axes % rank)
    return (x if t.attribute(node, "keepdims", 1) else Channels(x.axis + behind, x.labels),)


def pad(t: Tracer, node: NodeProto) -> Found:
    """Channels that are added are zero."""
    x, rank = t.channels(node.input[0]), t.rank(node.input[0])
    pads, value = t.option(node, 1, "pads"), t.option(node, 2, "value")
    if pads is None or pads.size != 2 * rank or (len(node.input) > 3 and node.input[3]):
        raise Unknown
    before, after = (int(n) for n in pads.reshape(2, rank)[:, x.axis])
    constant = t.attribute(node, "mode", b"constant") == b"constant"
    if not pads.any():
        return (x,)
    if before < 0 or after < 0 or ((before or after) and not constant):
        raise Unknown
    if constant and value is not None and value.any():
        if before or after:
            raise Unknown
        return (t.mapped(x, True, False, may_rest=False),)
    if not before and not after:
        return (x,)
    added = t.fresh(before + after)
    t.found.zeros.append(added)
    counted = {rank + x.axis: added[:before], 2 * rank + x.axis: added[before:]}
    t.counts(node, t.source(node, 1, "pads"), pads, counted)
    return (Channels(x.axis, np.concatenate([added[:before], x.labels, added[before:]])),)


def resize(t: Tracer, node: NodeProto) -> Found:
    """Of positions."""
    x = t.channels(node.input[0])
    if t.attribute(node, "axes") or t.attribute(node, "coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise Unknown
    place = 1 if node.op_type == "Upsample" or t.opset < 11 else 2
    sizes = t.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    scales = t.option(node, place, "scales") if sizes is None else None
    if scales is not None and scales.size >= -x.axis and scales[x.axis] == 1:
        return (x,)
    if sizes is None or sizes.size < -x.axis or sizes[x.axis] not in (CHANNELS, len(x.labels)):
        raise Unknown
    _counted(t, node, 3, sizes, sizes.size + x.axis, x.labels)
    return (x,)


def _counted(t: Tracer, node: NodeProto, source: int, numbers: np.ndarray, place: int, labels: Ids) -> None:
    """A number among those of a shape, known by now or counted at run time."""
    if (np.delete(numbers, place) == CHANNELS).any():
        raise Unknown
    if numbers[place] == CHANNELS:
        t.adapts(labels)
    else:
        t.counts(node, source, numbers, {place: labels})


def shape_of(t: Tracer, node: NodeProto) -> Found:
    """Known but for what is known only at run time; see Tracer.finish for what becomes of the channels."""
    if node.input[0] in t.shapes:
        dims = np.array(t.shapes[node.input[0]], dtype=np.int64)
        if node.input[0] in t.found.values:
            dims[t.found.values[node.input[0]].axis] = CHANNELS
        t.constants[node.output[0]] = dims[t.attribute(node, "start", 0) : t.attribute(node, "end")]
    return ()
