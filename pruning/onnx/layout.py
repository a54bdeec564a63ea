"""Blocks while a graph is walked through: what is known of a value, what a rule gives, and what numbers stand for."""

from collections.abc import Sequence

import numpy as np

from pruning.onnx.blocks import Axis, Block, Factor, Ids, Length, Sizes, is_plain
from pruning.onnx.labels import CHANNELS, Channels, Tracer, Unknown
from pruning.onnx.shapes import SYMBOL, is_symbol
from pruning.onnx.steps import Each, Gate

Found = tuple[Channels, ...]


def block(t: Tracer, name: str) -> Block:
    """Raises: Unknown: the value has no labels, or no shape."""
    if name in t.found.blocks.values:
        return t.found.blocks.values[name]
    x = t.channels(name)
    axes = list(plain_axes(t, name))
    n = len(x.labels)
    axes[x.axis] = (Factor(n, True),) if n > 1 else ()
    return Block(tuple(axes), x.labels if n > 1 else x.labels.reshape(()))


def plain_axes(t: Tracer, name: str) -> tuple[Axis, ...]:
    """Of a value as if it had no labels. Raises: Unknown: its shape is not known."""
    known = t.constants[name].shape if name in t.constants else t.shapes.get(name)
    shape = tuple(t.stored[name].dims) if name in t.stored else known
    if shape is None:
        raise Unknown
    return tuple(tuple(Factor(n) for n in sizes_of(t, int(size)) if n != 1) for size in shape)


def sizes_of(t: Tracer, number: int) -> Sizes:
    """What a number is the product of. Raises: Unknown: labels run along this length."""
    sizes = t.found.blocks.sizes.get(number, (number,))
    if isinstance(sizes, Length) or number == CHANNELS or (number < 1 and not is_symbol(number)):
        raise Unknown
    return sizes


def number(t: Tracer, sizes: Sizes) -> int:
    """That stands for their product."""
    symbols = tuple(n for n in sizes if is_symbol(n))
    literal = int(np.prod([n for n in sizes if not is_symbol(n)], dtype=np.int64))
    if len(symbols) > 1 or (symbols and literal > 1):
        return symbol(t, (literal, *symbols) if literal > 1 else symbols)
    return symbols[0] if symbols else literal


def symbol(t: Tracer, meaning: Sizes | Length | None = None) -> int:
    """A new one. Args: meaning: see Blocks.sizes; None: a length of which nothing is known.

    Raises: Unknown: there are too many.
    """
    made = t.found.blocks.sizes
    new = CHANNELS + 1 + len(made)
    if new >= SYMBOL // 2 * 3:
        raise Unknown
    made[new] = (new,) if meaning is None else meaning
    return new


def give(t: Tracer, name: str, x: Block) -> Found:
    """A value is a block, or channels where labels run along one axis alone: the rules of these take it then.

    Raises: Unknown: there are too many labels.
    """
    t.room -= x.labels.size
    if t.room < 0:
        raise Unknown
    t.shapes[name] = tuple(number(t, tuple(f.size for f in axis)) for axis in x.axes)
    with_labels = [i for i, axis in enumerate(x.axes) if not is_plain([axis])]
    if len(with_labels) == 1 and all(f.labelled for f in x.axes[with_labels[0]]):
        t.found.values[name] = Channels(with_labels[0] - len(x.axes), x.labels.reshape(-1))
    else:
        t.found.blocks.values[name] = x
    return ()


def made(t: Tracer, axes: Sequence[Axis], inputs: Sequence[Ids], gate: bool = False, rests: bool = True) -> Block:
    """Place by place of others: see pruning.onnx.labels.Each and Gate. Args: inputs: as large as the result's."""
    shape = [f.size for axis in axes for f in axis if f.labelled]
    y = t.fresh(int(np.prod(shape, dtype=np.int64)))
    flat, always = tuple(x.reshape(-1) for x in inputs), np.ones(y.shape, dtype=bool)
    t.found.steps.append(Gate(flat, y) if gate else Each(flat, y, always, always & rests, rests))
    for x in flat:
        t.tie(x, y)
    return Block(tuple(axes), y.reshape(shape))
