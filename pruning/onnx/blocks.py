"""Labels that lie along several axes of a value: heads and the channels of each.

An axis is a product of factors, as a Reshape leaves it: (batch * heads) is one axis, (heads * channels) another.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pruning.onnx.shapes import is_symbol

Ids = NDArray[np.int64]
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Factor:
    """Of an axis. size: a number above 1, or a symbol (pruning.onnx.shapes); labelled: whether labels run along it."""

    size: int
    labelled: bool = False


Axis = tuple[Factor, ...]


@dataclass(frozen=True)
class Block:
    """Labels of a value. axes: their factors, the slowest first; labels: an axis for each labelled factor, in order."""

    axes: tuple[Axis, ...]
    labels: Ids

    def places(self, axis: int) -> list[int]:
        """Axes of the labels that run along an axis of the value."""
        first = sum(f.labelled for before in self.axes[: axis % len(self.axes)] for f in before)
        return list(range(first, first + sum(f.labelled for f in self.axes[axis])))

    def rows(self, axis: int) -> Ids:
        """(length, rest) labels by their place along an axis of the value, those of a place in ascending order."""
        places = self.places(axis)
        length = int(np.prod([self.labels.shape[p] for p in places], dtype=np.int64))
        return np.sort(np.moveaxis(self.labels, places, range(len(places))).reshape(length, -1), axis=1)

    def permuted(self, perm: Sequence[int]) -> "Block":
        """The axes in another order."""
        order = [place for axis in perm for place in self.places(axis)]
        return Block(tuple(self.axes[axis] for axis in perm), self.labels.transpose(order))

    def picked(self, axis: int, indices: Sequence[int]) -> "Block":
        """Raises: ValueError: the axis is more than one labelled factor."""
        (factor,), (place,) = self.axes[axis], self.places(axis)
        left = (Factor(len(indices), factor.labelled),) if len(indices) > 1 else ()
        labels = np.take(self.labels, indices, place)
        axes = list(self.axes)
        axes[axis] = left
        return Block(tuple(axes), labels if left else labels.squeeze(place))

    def regrouped(self, sizes: Sequence[Sizes | None]) -> "Block":
        """With axes of these sizes, each a product; None is what the others leave.

        Raises: ValueError: the factors cannot be shared out like this.
        """
        stock = [factor for axis in self.axes for factor in axis]
        open_at = list(sizes).index(None) if None in sizes else len(sizes)
        front = [_taken(stock, size, 0) for size in sizes[:open_at]]
        back = [_taken(stock, size, -1) for size in reversed(sizes[open_at + 1 :])][::-1]
        if stock and open_at == len(sizes):
            raise ValueError("not all of the value is shared out")
        middle = [tuple(stock)] if open_at < len(sizes) else []
        axes = (*front, *middle, *back)
        return Block(axes, self.labels.reshape([f.size for axis in axes for f in axis if f.labelled]))

    def spread(self, axes: Sequence[Axis]) -> Ids:
        """Labels for every place of a value that this one is broadcast to: as many as that has along labelled axes."""
        mine = ((),) * (len(axes) - len(self.axes)) + self.axes
        whole = [[f.size for f in axis if f.labelled] for axis in axes]
        shape = [n for own, ns in zip(mine, whole, strict=True) for n in (ns if own else [1] * len(ns))]
        return np.broadcast_to(self.labels.reshape(shape), [n for ns in whole for n in ns])


@dataclass(frozen=True)
class Length:
    """Of an axis with labels, read at run time: it changes when they go. sizes: of all factors; rows: see Block."""

    sizes: Sizes
    rows: Ids


@dataclass
class Blocks:
    """What is known of the blocks of a graph.

    values: by name; numbers: by output and input of a node what each number in that input counts, (length, rest) or
    None for those that stay; grids: labels of which whole slices along one axis go, and axes that stay as they are;
    sizes: what symbols stand for that were made on the way; fixed: rows of lengths that stay as they are; reshaped:
    nodes that may read lengths, by their output.
    """

    values: dict[str, Block] = field(default_factory=dict)
    numbers: dict[tuple[str, int], list[Ids | None]] = field(default_factory=dict)
    grids: list[tuple[Ids, Sequence[int]]] = field(default_factory=list)
    sizes: dict[int, Sizes | Length] = field(default_factory=dict)
    fixed: list[Ids] = field(default_factory=list)
    reshaped: set[str] = field(default_factory=set)


def is_plain(axes: Sequence[Axis]) -> bool:
    """Whether no labels run along them."""
    return not any(factor.labelled for axis in axes for factor in axis)


def _taken(stock: list[Factor], size: Sizes | None, end: int) -> Axis:
    """Factors off one end whose product is a size; a number is divided where it has to be."""
    if size is None:
        raise ValueError("two sizes are open")
    number = int(np.prod([n for n in size if not is_symbol(n)], dtype=np.int64))
    symbols = Counter(n for n in size if is_symbol(n))
    taken: list[Factor] = []
    while number != 1 or symbols:
        factor = stock.pop(end)
        if is_symbol(factor.size) and symbols[factor.size]:
            symbols = symbols - Counter([factor.size])
        elif is_symbol(factor.size) or number <= 1:
            raise ValueError("another dimension than asked for")
        elif number % factor.size == 0:
            number //= factor.size
        elif factor.size % number == 0:
            rest = Factor(factor.size // number, factor.labelled)
            stock.insert(len(stock) if end else 0, rest)
            factor, number = Factor(number, factor.labelled), 1
        else:
            raise ValueError("the sizes have no common factors")
        taken.append(factor)
    return tuple(taken[::-1] if end else taken)
