"""Which tensors are decoded together, and how: what takes fewest bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruning.onnx.codecs import CODECS
from pruning.onnx.codecs.pieces import HEAD, Pieces, stored
from pruning.onnx.codecs.stored import Stored

LEAST = 8  # elements; what is smaller stays as it is
SMALL, FEW = 2**20, 2**12  # elements, and those that are not zero, up to which tensors may share a stream
LITTLE = 2**15  # elements of a file in which all tensors may
UNITS = 12  # of which groups are made


@dataclass(frozen=True)
class Choice:
    """Tensors and the codec that they share; None leaves them as they are."""

    codec: str | None
    group: tuple[Stored, ...]
    bytes: int


def choose(tensors: Sequence[Stored], opset: int) -> list[Choice]:
    """A choice for every tensor.

    Small tensors are put in order of density, vectors last; the best way to cut that order into groups is found.
    """
    few = LITTLE if sum(t.values.size for t in tensors) <= LITTLE else FEW
    small = sorted((t for t in tensors if _is_small(t, few)), key=_order)
    alone = [t for t in tensors if not _is_small(t, few)]
    return [best((t,), opset) for t in alone] + _groups(small, opset)


def best(group: tuple[Stored, ...], opset: int) -> Choice:
    """The codec of fewest bytes for these tensors, or none."""
    plain = sum(HEAD + stored(t.values, "x").ByteSize() for t in group)
    choices = [Choice(None, group, plain)]
    if min(t.values.size for t in group) >= LEAST:
        for name, emit in CODECS.items():
            pieces = Pieces(opset)
            if emit(pieces, group) is not None:
                choices.append(Choice(name, group, pieces.size()))
    return min(choices, key=lambda c: c.bytes)


def _groups(small: list[Stored], opset: int) -> list[Choice]:
    """The shortest way through the order, group by group; beyond UNITS tensors, neighbours go together."""
    size = max(1, -(-len(small) // UNITS))
    kinds = [[t for t in small if (t.values.ndim < 2) == vectors] for vectors in (False, True)]
    units = [kind[i : i + size] for kind in kinds for i in range(0, len(kind), size)]
    total: list[tuple[int, list[Choice]]] = [(0, [])]
    for end in range(1, len(units) + 1):
        ways = []
        for start in range(end):
            choices = _together([tensor for unit in units[start:end] for tensor in unit], opset)
            ways.append((total[start][0] + sum(c.bytes for c in choices), [*total[start][1], *choices]))
        total.append(min(ways, key=lambda way: way[0]))
    return total[-1][1]


def _together(tensors: list[Stored], opset: int) -> list[Choice]:
    """A choice for all that have the same type."""
    by_type: dict[np.dtype, list[Stored]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.values.dtype, []).append(tensor)
    return [best(tuple(group), opset) for group in by_type.values()]


def _is_small(tensor: Stored, few: int) -> bool:
    return LEAST <= tensor.values.size <= SMALL and int(np.count_nonzero(tensor.values)) <= few


def _order(tensor: Stored) -> tuple[bool, str, float]:
    density = np.count_nonzero(tensor.values) / max(tensor.values.size, 1)
    return tensor.values.ndim < 2, tensor.values.dtype.str, density
