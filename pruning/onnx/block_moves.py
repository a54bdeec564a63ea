"""Operators that move values about: where the labels of blocks go."""

from itertools import pairwise

import numpy as np
from onnx import NodeProto

from pruning.onnx import layout
from pruning.onnx.blocks import Block, Ids, Length, Sizes, is_plain
from pruning.onnx.labels import Tracer, Unknown
from pruning.onnx.layout import Found
from pruning.onnx.shapes import is_symbol


def transpose(t: Tracer, node: NodeProto) -> Found:
    """The axes in another order."""
    x = layout.block(t, node.input[0])
    return layout.give(t, node.output[0], x.permuted(t.attribute(node, "perm", list(range(len(x.axes)))[::-1])))


def squeeze(t: Tracer, node: NodeProto) -> Found:
    """Axes of length 1 gone."""
    x, axes = layout.block(t, node.input[0]), t.option(node, 1, "axes")
    if axes is None or any(x.axes[i] for i in axes):
        raise Unknown
    gone = axes % len(x.axes)
    return layout.give(t, node.output[0], Block(tuple(a for i, a in enumerate(x.axes) if i not in gone), x.labels))


def unsqueeze(t: Tracer, node: NodeProto) -> Found:
    """Axes of length 1 put in."""
    x, axes = layout.block(t, node.input[0]), t.option(node, 1, "axes")
    if axes is None:
        raise Unknown
    rank, old = len(x.axes) + axes.size, iter(x.axes)
    new = tuple(() if i in axes % rank else next(old) for i in range(rank))
    return layout.give(t, node.output[0], Block(new, x.labels))


def gather(t: Tracer, node: NodeProto) -> Found:
    """One of the queries, keys and values that a layer makes together."""
    x, index = layout.block(t, node.input[0]), t.constant(node.input[1])
    axis = t.attribute(node, "axis", 0) % len(x.axes)
    if index.ndim:
        raise Unknown
    if x.places(axis):
        t.found.blocks.grids.append((x.labels, x.places(axis)))
        x = x.picked(axis, [int(index)])
    return layout.give(t, node.output[0], Block((*x.axes[:axis], *x.axes[axis + 1 :]), x.labels))


def split(t: Tracer, node: NodeProto) -> Found:
    """Into queries, keys and values. Without stored sizes the parts stay equal."""
    x, name = layout.block(t, node.input[0]), node.input[1] if len(node.input) > 1 else ""
    axis = t.attribute(node, "axis", 0) % len(x.axes)
    if node.input[0] in t.found.values:
        raise Unknown  # moves.split does it
    if len(x.places(axis)) != 1 or len(x.axes[axis]) != 1 or (t.opset < 13 and t.attribute(node, "split")):
        raise Unknown
    place, length, k = x.places(axis)[0], x.axes[axis][0].size, len(node.output)
    if not name and length % k:
        raise Unknown
    sizes = t.constant(name) if name else np.full(k, length // k)
    bounds = np.cumsum([0, *sizes]).tolist()
    ranges = [range(a, b) for a, b in pairwise(bounds)]
    if name:
        t.found.blocks.numbers[node.output[0], 1] = [x.rows(axis)[r.start : r.stop] for r in ranges]
    else:
        grid = x.labels.reshape(*x.labels.shape[:place], k, -1, *x.labels.shape[place + 1 :])
        t.found.blocks.grids.append((grid, [place]))
    for output, part in zip(node.output, ranges, strict=True):
        _give_part(t, output, x, axis, part)
    return ()


def part(t: Tracer, node: NodeProto) -> Found:
    """Of the queries, keys and values that a layer makes together."""
    x, constants = layout.block(t, node.input[0]), [t.constant(name) for name in node.input[1:]]
    if node.input[0] in t.found.values:
        raise Unknown  # moves.part does it
    if len(constants) < 3 or any(v.size != 1 or is_symbol(v).any() for v in constants):
        raise Unknown
    start, end, axis, step = (int(v[0]) for v in (*constants, np.ones(1))[:4])
    if step != 1 or len(x.places(axis)) != 1 or len(x.axes[axis]) != 1:
        raise Unknown
    rows, length = x.rows(axis), x.axes[axis][0].size
    first, last, _ = slice(start, end).indices(length)
    numbers = t.found.blocks.numbers
    numbers[node.output[0], 1] = [rows[first:] if start < 0 else rows[:first]]
    numbers[node.output[0], 2] = [rows[last:] if end < 0 else rows[:last] if end <= length else None]
    return _give_part(t, node.output[0], x, axis % len(x.axes), range(first, last))


def _give_part(t: Tracer, name: str, x: Block, axis: int, part: range) -> Found:
    if not len(part):
        raise Unknown
    if len(part) == 1:
        t.found.blocks.grids.append((x.labels, x.places(axis)))
    y = x.picked(axis, part)
    t.found.parts.append(y.labels.reshape(-1))
    return layout.give(t, name, y)


def shape_of(t: Tracer, node: NodeProto) -> Found:
    """Lengths that labels run along are symbols of their own; attention.settle says what becomes of these labels."""
    if node.input[0] in t.found.values and t.found.values[node.input[0]].axis != -1:
        raise Unknown  # moves.shape_of does it
    x = layout.block(t, node.input[0])
    dims = list(t.shapes[node.input[0]])
    for i, axis in enumerate(x.axes):
        if not is_plain([axis]):
            dims[i] = layout.symbol(t, Length(tuple(f.size for f in axis), x.rows(i)))
    known = np.array(dims, dtype=np.int64)
    t.constants[node.output[0]] = known[t.attribute(node, "start", 0) : t.attribute(node, "end")]
    return ()


def reshape(t: Tracer, node: NodeProto) -> Found:
    """Axes divided and merged; what their numbers count is remembered."""
    x, target = layout.block(t, node.input[0]), t.constant(node.input[1]).tolist()
    if 0 in target and t.attribute(node, "allowzero", 0):
        raise Unknown
    asked = _with_one_open(x, [_asked(t, x, place, n) for place, n in enumerate(target)])
    y = x.regrouped([length.sizes if isinstance(length, Length) else length for length in asked])
    counts = [_counted(t, y, place, length, target[place]) for place, length in enumerate(asked)]
    t.found.blocks.numbers[node.output[0], 1] = counts
    t.found.blocks.reshaped.add(node.output[0])
    if y.labels.ndim > x.labels.ndim:
        t.found.blocks.grids.append((y.labels, []))
    return layout.give(t, node.output[0], y)


def _counted(t: Tracer, y: Block, place: int, length: Sizes | Length | None, asked: int) -> Ids | None:
    """What a number in the target counts; None where it stays, or changes by itself."""
    rows = None if is_plain([y.axes[place]]) else y.rows(place)
    if asked == -1 or (isinstance(length, Length) and rows is not None and np.array_equal(length.rows, rows)):
        return None
    if rows is not None and (asked == 0 or length is None):
        raise Unknown
    if isinstance(length, Length):
        t.found.blocks.fixed.append(length.rows)
    return rows


def _asked(t: Tracer, x: Block, place: int, number: int) -> Sizes | Length | None:
    """By a number in the target: a length where it changes by itself, None where the others leave it open."""
    size = t.found.blocks.sizes.get(number)
    if isinstance(size, Length) or number == -1:
        return size
    if number:
        return layout.sizes_of(t, number)
    sizes = tuple(f.size for f in x.axes[place])
    return sizes if is_plain([x.axes[place]]) else Length(sizes, x.rows(place))


def _with_one_open(x: Block, asked: list[Sizes | Length | None]) -> list[Sizes | Length | None]:
    """A dimension that goes by two names is what the others leave, as -1 would be."""
    known = {f.size for axis in x.axes for f in axis}
    strange = [i for i, size in enumerate(asked) if isinstance(size, tuple) and not _symbols(size) <= known]
    if len(strange) == 1 and None not in asked:
        asked[strange[0]] = None
    return asked


def _symbols(sizes: Sizes) -> set[int]:
    return {n for n in sizes if is_symbol(n)}
