"""Attention: how heads pass from the projections through scores and back, so that those that are dead can go.

A head goes as a whole, with its queries, keys and values: what multiplies two values ties them head by head.
"""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from itertools import zip_longest

import numpy as np
from onnx import NodeProto

from pruning.onnx import block_moves, layout
from pruning.onnx.blocks import Axis, Block, Factor, Ids, Length, Sizes, is_plain
from pruning.onnx.graphs import graphs_of
from pruning.onnx.labels import Rule, Tracer, Unknown
from pruning.onnx.layout import Found
from pruning.onnx.shapes import is_symbol


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
    for rows in (*found.fixed, *_leaks(t)):
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


def _met(t: Tracer, a: Axis, b: Axis) -> Axis:
    """Of two axes that are broadcast to each other; labels run along both or along one where the other is 1."""
    if a == b or not (a and b):
        return a or b
    if not is_plain([a, b]):
        raise Unknown
    literal = [axis for axis in (a, b) if len(axis) == 1 and not is_symbol(axis[0].size)]
    return literal[0] if literal else (Factor(layout.symbol(t)),)


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
    blocks = {name: layout.block(t, name) for name in node.input if _has_labels(t, name)}
    if not blocks:
        raise Unknown
    axes = _broadcast(t, [blocks[k].axes if k in blocks else layout.plain_axes(t, k) for k in node.input])
    labels = [blocks[name].spread(axes) for name in node.input if name in blocks]
    scales = node.op_type in ("Mul", "Div")
    if node.op_type == "Div" and (len(labels) > 1 or node.input[0] not in blocks):
        raise Unknown
    if scales and len(labels) == 1:
        return layout.give(t, node.output[0], Block(axes, labels[0]))
    joins = len(labels) == len(node.input) and node.op_type in ("Add", "Sub", "Sum")
    return layout.give(t, node.output[0], layout.made(t, axes, labels, gate=scales, rests=joins or scales))


def _computed(t: Tracer, node: NodeProto) -> Found:
    """Numbers of which shapes are made, where some are known only at run time."""
    known = [t.constants[name] for name in node.input]
    if any(v.dtype.kind != "i" for v in known) or t.attribute(node, "to", INT64) != INT64:
        raise Unknown
    each = np.broadcast(*known)
    found = [layout.number(t, _product(node.op_type, [_fixed(t, int(n)) for n in numbers])) for numbers in each]
    t.constants[node.output[0]] = np.array(found, dtype=np.int64).reshape(each.shape)
    return ()


def _product(op: str, factors: Sequence[Sizes]) -> Sizes:
    (a, *_), (b, *_) = factors[0], factors[-1]
    if op == "Div" and len(factors[0]) == len(factors[1]) == 1 and not is_symbol(np.array([a, b])).any():
        return (a // b,)
    if op not in ("Cast", "Mul"):
        raise Unknown
    return tuple(n for sizes in factors for n in sizes)


def _fixed(t: Tracer, number: int) -> Sizes:
    """Of a length that labels run along: it has to stay."""
    length = t.found.blocks.sizes.get(number)
    if not isinstance(length, Length):
        return layout.sizes_of(t, number)
    t.found.blocks.fixed.append(length.rows)
    return length.sizes


def _same(t: Tracer, node: NodeProto) -> Found:
    if node.input[0] in t.constants:
        return _computed(t, node)
    if any(t.uses[name] for name in node.output[1:]) or any(node.input[1:]):
        raise Unknown
    return layout.give(t, node.output[0], layout.block(t, node.input[0]))


def _softmax(t: Tracer, node: NodeProto) -> Found:
    x = layout.block(t, node.input[0])
    axis = t.attribute(node, "axis", -1 if t.opset >= 13 else 1) % len(x.axes)
    if x.places(axis) or (t.opset < 13 and axis != len(x.axes) - 1):
        raise Unknown
    return layout.give(t, node.output[0], layout.made(t, x.axes, [x.labels], rests=False))


def _matmul(t: Tracer, node: NodeProto) -> Found:
    """What is summed over is tied: a head's scores need all of its queries and keys."""
    blocks = {name: layout.block(t, name) for name in node.input if _has_labels(t, name)}
    a, b = (blocks[k].axes if k in blocks else layout.plain_axes(t, k) for k in node.input)
    if not blocks or min(len(a), len(b)) < 2 or (a[-1] != b[-2] and not is_plain([a[-1], b[-2]])):
        raise Unknown
    axes = _broadcast(t, [(*a[:-1], ()), (*b[:-2], (), b[-1])])
    sums = [_summed(t, blocks[k], axis) for k, axis in zip(node.input, (-1, -2), strict=True) if k in blocks]
    labels = [x.spread(axes) for x in sums]
    both = len(labels) > 1
    return layout.give(t, node.output[0], layout.made(t, axes, labels, gate=True) if both else Block(axes, labels[0]))


def _summed(t: Tracer, x: Block, axis: int) -> Block:
    """Zero where all along an axis is."""
    axes, places = list(x.axes), x.places(axis)
    axes[axis] = ()
    if not places:
        return Block(tuple(axes), x.labels)
    first = np.moveaxis(x.labels, places, range(len(places)))
    return layout.made(t, axes, list(first.reshape(-1, *first.shape[len(places) :])))


INT64 = 7
FIRST = {"Shape", "Slice", "Split", "Transpose"}  # these rules before those for channels
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Div", "Mul", "Sub", "Sum", "Where"), _place_by_place),
    **dict.fromkeys(("Cast", "Dropout", "Identity"), _same),
    "Gather": block_moves.gather,
    "MatMul": _matmul,
    "Reshape": block_moves.reshape,
    "Shape": block_moves.shape_of,
    "Slice": block_moves.part,
    "Softmax": _softmax,
    "Split": block_moves.split,
    "Squeeze": block_moves.squeeze,
    "Transpose": block_moves.transpose,
    "Unsqueeze": block_moves.unsqueeze,
}
