"""Attention: how heads pass from the projections through scores and back, so that those that are dead can go.

A head goes as a whole, with its queries, keys and values: what multiplies two values ties them head by head.
"""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from itertools import pairwise, zip_longest

import numpy as np
from onnx import NodeProto

from pruning.onnx.blocks import Axis, Block, Factor, Ids, Length, Sizes, is_plain
from pruning.onnx.labels import CHANNELS, Channels, Each, Gate, Rule, Tracer, Unknown
from pruning.onnx.shapes import SYMBOL, is_symbol
from pruning.onnx.vet import graphs_of

Found = tuple[Channels, ...]


def beside(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rules, with those of this file for blocks, and for what they leave."""
    return {op: partial(_either, RULES.get(op), rules.get(op)) for op in {**rules, **RULES}}


def _either(own: Rule | None, ordinary: Rule | None, t: Tracer, node: NodeProto) -> Found:
    if any(name in t.found.blocks.values for name in node.input):
        ordinary = None  # it would take the value for one without labels
    rules = [own, ordinary] if node.op_type in FIRST else [ordinary, own]
    for rule in rules:
        try:
            if rule is not None:
                return tuple(rule(t, node))
        except Unknown:
            continue
    raise Unknown


def settle(t: Tracer) -> None:
    """Labels stay where others would go than whole slices along one axis, and where lengths are read that change."""
    found = t.found.blocks
    if not found.grids and not found.sizes:
        return
    classes = t.found.classes()
    for labels, stay in found.grids:
        if not any(_is_cut_along(classes[labels], axis) for axis in range(labels.ndim) if axis not in stay):
            t.freeze(labels.reshape(-1))
    for rows in _leaks(t):
        if len({frozenset(row) for row in classes[rows].tolist()}) > 1:
            t.freeze(rows.reshape(-1))


def _is_cut_along(classes: Ids, axis: int) -> bool:
    slices = np.moveaxis(classes, axis, 0).reshape(classes.shape[axis], -1)
    return bool((slices == slices[:, :1]).all())


def _leaks(t: Tracer) -> list[Ids]:
    """Lengths, as rows of labels, that something else reads at run time than a Reshape that was followed."""
    found = t.found.blocks
    live = {n: size.rows for n, size in found.sizes.items() if isinstance(size, Length)}
    read = {port.name for graph in graphs_of(t.model.graph) for port in graph.output}
    for node in (n for graph in graphs_of(t.model.graph) for n in graph.node):
        if node.op_type == "Reshape" and node.output[0] in found.reshaped:
            read |= {node.input[0]}
        elif not all(name in t.constants for name in node.output):
            read |= set(node.input)
    numbers = {int(n) for name in read & t.constants.keys() for n in t.constants[name].flat if n in live}
    return [live[n] for n in numbers]


def _block(t: Tracer, name: str) -> Block:
    """Raises: Unknown: the value has no labels, or no shape."""
    if name in t.found.blocks.values:
        return t.found.blocks.values[name]
    x = t.channels(name)
    axes = list(_plain_axes(t, name))
    n = len(x.labels)
    axes[x.axis] = (Factor(n, True),) if n > 1 else ()
    return Block(tuple(axes), x.labels if n > 1 else x.labels.reshape(()))


def _plain_axes(t: Tracer, name: str) -> tuple[Axis, ...]:
    known = t.constants[name].shape if name in t.constants else t.shapes.get(name)
    shape = tuple(t.stored[name].dims) if name in t.stored else known
    if shape is None:
        raise Unknown
    return tuple(tuple(Factor(n) for n in _sizes(t, int(size)) if n != 1) for size in shape)


def _sizes(t: Tracer, number: int) -> Sizes:
    """What a number is the product of."""
    sizes = t.found.blocks.sizes.get(number, (number,))
    if isinstance(sizes, Length) or number == CHANNELS or (number < 1 and not is_symbol(number)):
        raise Unknown
    return sizes


def _number(t: Tracer, sizes: Sizes) -> int:
    symbols = tuple(n for n in sizes if is_symbol(n))
    literal = int(np.prod([n for n in sizes if not is_symbol(n)], dtype=np.int64))
    if len(symbols) > 1 or (symbols and literal > 1):
        return _symbol(t, (literal, *symbols) if literal > 1 else symbols)
    return symbols[0] if symbols else literal


def _symbol(t: Tracer, meaning: Sizes | Length | None = None) -> int:
    """A new one. Args: meaning: see Blocks.sizes; None: a length of which nothing is known."""
    made = t.found.blocks.sizes
    number = CHANNELS + 1 + len(made)
    if number >= SYMBOL // 2 * 3:
        raise Unknown
    made[number] = (number,) if meaning is None else meaning
    return number


def _give(t: Tracer, name: str, x: Block) -> Found:
    """As channels where they are one axis alone, for the rules of these."""
    t.room -= x.labels.size
    if t.room < 0:
        raise Unknown
    t.shapes[name] = tuple(_number(t, tuple(f.size for f in axis)) for axis in x.axes)
    with_labels = [i for i, axis in enumerate(x.axes) if not is_plain([axis])]
    if len(with_labels) == 1 and all(f.labelled for f in x.axes[with_labels[0]]):
        t.found.values[name] = Channels(with_labels[0] - len(x.axes), x.labels.reshape(-1))
    else:
        t.found.blocks.values[name] = x
    return ()


def _made(t: Tracer, axes: Sequence[Axis], inputs: Sequence[Ids], gate: bool = False, rests: bool = True) -> Block:
    """Place by place of others: see pruning.onnx.labels.Each and Gate. Args: inputs: as large as the result's."""
    shape = [f.size for axis in axes for f in axis if f.labelled]
    y = t.fresh(int(np.prod(shape, dtype=np.int64)))
    flat, always = tuple(x.reshape(-1) for x in inputs), np.ones(y.shape, dtype=bool)
    t.found.steps.append(Gate(flat, y) if gate else Each(flat, y, always, always & rests, rests))
    for x in flat:
        t.tie(x, y)
    return Block(tuple(axes), y.reshape(shape))


def _met(t: Tracer, a: Axis, b: Axis) -> Axis:
    """Of two axes that are broadcast to each other; labels run along both or along one where the other is 1."""
    if a == b or not (a and b):
        return a or b
    if not is_plain([a, b]):
        raise Unknown
    literal = [axis for axis in (a, b) if len(axis) == 1 and not is_symbol(axis[0].size)]
    return literal[0] if literal else (Factor(_symbol(t)),)


def _broadcast(t: Tracer, many: Sequence[Sequence[Axis]]) -> tuple[Axis, ...]:
    def both(a: Sequence[Axis], b: Sequence[Axis]) -> Sequence[Axis]:
        return [_met(t, x, y) for x, y in zip_longest(a[::-1], b[::-1], fillvalue=())][::-1]

    return tuple(reduce(both, many))


def _has_labels(t: Tracer, name: str) -> bool:
    return name in t.found.blocks.values or name in t.found.values


def _place_by_place(t: Tracer, node: NodeProto) -> Found:
    """With values that say the same to all heads, such as a scale or a mask, or head by head."""
    if all(name in t.constants for name in node.input):
        return _computed(t, node)
    blocks = {name: _block(t, name) for name in node.input if _has_labels(t, name)}
    if not blocks:
        raise Unknown
    axes = _broadcast(t, [blocks[k].axes if k in blocks else _plain_axes(t, k) for k in node.input])
    labels = [blocks[name].spread(axes) for name in node.input if name in blocks]
    scales = node.op_type in ("Mul", "Div")
    if node.op_type == "Div" and (len(labels) > 1 or node.input[0] not in blocks):
        raise Unknown
    if scales and len(labels) == 1:
        return _give(t, node.output[0], Block(axes, labels[0]))
    joins = len(labels) == len(node.input) and node.op_type in ("Add", "Sub", "Sum")
    return _give(t, node.output[0], _made(t, axes, labels, gate=scales, rests=joins or scales))


def _computed(t: Tracer, node: NodeProto) -> Found:
    """Numbers of which shapes are made, where some are known only at run time."""
    known = [t.constants[name] for name in node.input]
    if node.op_type not in ("Cast", "Mul") or any(v.dtype.kind != "i" for v in known):
        raise Unknown
    if node.op_type == "Cast" and t.attribute(node, "to") not in INTEGERS:
        raise Unknown
    each = np.broadcast(*known)
    found = [_number(t, tuple(n for number in numbers for n in _sizes(t, int(number)))) for numbers in each]
    t.constants[node.output[0]] = np.array(found, dtype=np.int64).reshape(each.shape)
    return ()


def _same(t: Tracer, node: NodeProto) -> Found:
    if node.input[0] in t.constants:
        return _computed(t, node)
    if any(t.uses[name] for name in node.output[1:]) or any(node.input[1:]):
        raise Unknown
    return _give(t, node.output[0], _block(t, node.input[0]))


def _softmax(t: Tracer, node: NodeProto) -> Found:
    x = _block(t, node.input[0])
    axis = t.attribute(node, "axis", -1 if t.opset >= 13 else 1) % len(x.axes)
    if x.places(axis) or (t.opset < 13 and axis != len(x.axes) - 1):
        raise Unknown
    return _give(t, node.output[0], _made(t, x.axes, [x.labels], rests=False))


def _matmul(t: Tracer, node: NodeProto) -> Found:
    """What is summed over is tied: a head's scores need all of its queries and keys."""
    blocks = {name: _block(t, name) for name in node.input if _has_labels(t, name)}
    a, b = (blocks[k].axes if k in blocks else _plain_axes(t, k) for k in node.input)
    if not blocks or min(len(a), len(b)) < 2 or (a[-1] != b[-2] and not is_plain([a[-1], b[-2]])):
        raise Unknown
    axes = _broadcast(t, [(*a[:-1], ()), (*b[:-2], (), b[-1])])
    sums = [_summed(t, blocks[k], axis) for k, axis in zip(node.input, (-1, -2), strict=True) if k in blocks]
    labels = [x.spread(axes) for x in sums]
    return _give(t, node.output[0], _made(t, axes, labels, gate=True) if len(labels) > 1 else Block(axes, labels[0]))


def _summed(t: Tracer, x: Block, axis: int) -> Block:
    """Zero where all along an axis is."""
    axes, places = list(x.axes), x.places(axis)
    axes[axis] = ()
    if not places:
        return Block(tuple(axes), x.labels)
    first = np.moveaxis(x.labels, places, range(len(places)))
    return _made(t, axes, list(first.reshape(-1, *first.shape[len(places) :])))


def _transpose(t: Tracer, node: NodeProto) -> Found:
    x = _block(t, node.input[0])
    return _give(t, node.output[0], x.permuted(t.attribute(node, "perm", list(range(len(x.axes)))[::-1])))


def _squeeze(t: Tracer, node: NodeProto) -> Found:
    x, axes = _block(t, node.input[0]), t.option(node, 1, "axes")
    if axes is None or any(x.axes[i] for i in axes):
        raise Unknown
    gone = axes % len(x.axes)
    return _give(t, node.output[0], Block(tuple(a for i, a in enumerate(x.axes) if i not in gone), x.labels))


def _unsqueeze(t: Tracer, node: NodeProto) -> Found:
    x, axes = _block(t, node.input[0]), t.option(node, 1, "axes")
    if axes is None:
        raise Unknown
    rank, old = len(x.axes) + axes.size, iter(x.axes)
    return _give(t, node.output[0], Block(tuple(() if i in axes % rank else next(old) for i in range(rank)), x.labels))


def _gather(t: Tracer, node: NodeProto) -> Found:
    """One of the queries, keys and values that a layer makes together."""
    x, index = _block(t, node.input[0]), t.constant(node.input[1])
    axis = t.attribute(node, "axis", 0) % len(x.axes)
    if index.ndim:
        raise Unknown
    if x.places(axis):
        t.found.blocks.grids.append((x.labels, x.places(axis)))
        x = x.picked(axis, [int(index)])
    return _give(t, node.output[0], Block((*x.axes[:axis], *x.axes[axis + 1 :]), x.labels))


def _split(t: Tracer, node: NodeProto) -> Found:
    """Into queries, keys and values. Without stored sizes the parts stay equal."""
    x, name = _block(t, node.input[0]), node.input[1] if len(node.input) > 1 else ""
    axis = t.attribute(node, "axis", 0) % len(x.axes)
    if t.is_own(name) and node.input[0] in t.found.values:
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


def _slice(t: Tracer, node: NodeProto) -> Found:
    """Of the queries, keys and values that a layer makes together."""
    x, constants = _block(t, node.input[0]), [t.constant(name) for name in node.input[1:]]
    if node.input[0] in t.found.values and all(t.is_own(name) for name in node.input[1:3]):
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
    return _give(t, name, y)


def _shape(t: Tracer, node: NodeProto) -> Found:
    if node.input[0] in t.found.values and t.found.values[node.input[0]].axis != -1:
        raise Unknown  # moves.shape_of does it
    x = _block(t, node.input[0])
    dims = list(t.shapes[node.input[0]])
    for i, axis in enumerate(x.axes):
        if not is_plain([axis]):
            dims[i] = _symbol(t, Length(tuple(f.size for f in axis), x.rows(i)))
    known = np.array(dims, dtype=np.int64)
    t.constants[node.output[0]] = known[t.attribute(node, "start", 0) : t.attribute(node, "end")]
    return ()


def _reshape(t: Tracer, node: NodeProto) -> Found:
    """Axes divided and merged; what their numbers count is remembered."""
    x, target = _block(t, node.input[0]), t.constant(node.input[1]).tolist()
    if 0 in target and t.attribute(node, "allowzero", 0):
        raise Unknown
    asked = _with_one_open(x, [_asked(t, x, place, n) for place, n in enumerate(target)])
    y = x.regrouped([length.sizes if isinstance(length, Length) else length for length in asked])
    counts: list[Ids | None] = []
    for place, length in enumerate(asked):
        rows = None if is_plain([y.axes[place]]) else y.rows(place)
        if rows is not None and length is None and target[place] != -1:
            raise Unknown
        by_itself = isinstance(length, Length) and np.array_equal(length.rows, NONE if rows is None else rows)
        if isinstance(length, Length) and not by_itself:
            t.freeze(length.rows.reshape(-1))
        counts.append(None if length is None or by_itself else rows)
    t.found.blocks.numbers[node.output[0], 1] = counts
    t.found.blocks.reshaped.add(node.output[0])
    if y.labels.ndim > x.labels.ndim:
        t.found.blocks.grids.append((y.labels, []))
    return _give(t, node.output[0], y)


def _asked(t: Tracer, x: Block, place: int, number: int) -> Sizes | Length | None:
    """By a number in the target: a length where it changes by itself, None where the others leave it open."""
    size = t.found.blocks.sizes.get(number)
    if isinstance(size, Length) or number == -1:
        return size
    if number:
        return _sizes(t, number)
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


NONE = np.zeros((0, 0), dtype=np.int64)
INTEGERS = (6, 7)
FIRST = {"Shape", "Slice", "Split", "Transpose"}  # these rules before those for channels
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Div", "Mul", "Sub", "Sum", "Where"), _place_by_place),
    **dict.fromkeys(("Cast", "Dropout", "Identity"), _same),
    "Gather": _gather,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
