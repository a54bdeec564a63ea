"""Tensors of a few levels each, in one stream of positions for all.

A weight that is not zero stands at (place, level) in a table of ones and zeros with a row for each weight and a
column for each level; the rows of all tensors are one sequence, so that one gap says where the next weight is and
which level it has. A tensor is its rows times its levels, which is exact: all addends but one are zero. The table is
single precision, 4 bytes for each weight and level while a session is made: this is for small nets. Vectors of other
numbers, such as biases, follow the rows and so are cut off by the same node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruning.onnx.codecs import eight, raw
from pruning.onnx.codecs.codebook import distinct
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.sparse import POSITIONS, zeros
from pruning.onnx.codecs.stored import Emit, Stored, bits_of, cut, flat, smallest

MOST, LARGEST, KEPT = 64, 2**22, 2**13  # levels of a tensor; numbers in the table; ones in it
SPARE, NAMED = 4, 5  # ones that are tried, less one; bytes of a part that nothing takes
PLAIN: dict[str, Emit] = {"raw": raw.emit, "int8": eight.emit}


@dataclass(frozen=True)
class Table:
    """Tensors, the levels of each, and where the ones stand; size: rows times columns of all."""

    group: tuple[Stored, ...]
    levels: tuple[np.ndarray, ...]
    ones: np.ndarray
    size: int


def emit(pieces: Pieces, group: Sequence[Stored]) -> str | None:
    """Nodes that give the tensors; returns how they are kept, None where there are too many levels or weights."""
    if any(one.values.dtype != np.float32 for one in group):
        return None
    vectors = [one for one in group if _is_plain(one)]
    table = _table([one for one in group if not _is_plain(one)])
    if table is None:
        return None
    spare = _spare(pieces.opset, table) if len(group) > 1 else 0
    where, how = smallest(pieces, POSITIONS, _with(table, spare))
    ones = where.ones or pieces.node("Expand", pieces.scalar(1, np.float32), pieces.whole(len(table.ones) + spare))
    filled = pieces.node("ScatterElements", _empty(pieces, table.size + spare, vectors), where.indices, ones)
    sizes = [one.values.size * len(levels) for one, levels in zip(table.group, table.levels, strict=True)]
    sizes += [spare] * bool(spare) + [one.values.size for one in vectors]
    names = [*(pieces.name() for _ in sizes[len(vectors) :]), *(one.name for one in vectors)]
    parts = cut(pieces, filled, sizes, names) if len(group) > 1 else [filled]
    for one, part, levels in zip(table.group, parts, table.levels, strict=False):
        rows = pieces.node("Reshape", part, pieces.whole(*one.values.shape, len(levels)))
        pieces.node("MatMul", rows, pieces.constant(levels), out=one.name)
    return f"{how}, levels"


def _spare(opset: int, table: Table) -> int:
    """Ones to add after the table, so that digits fill whole bytes: a node that cuts takes more bytes."""
    sizes = []
    for spare in range(SPARE):
        trial = Pieces(opset)
        smallest(trial, POSITIONS, _with(table, spare))
        sizes.append(trial.size() + NAMED * bool(spare))
    return int(np.argmin(sizes))


def _with(table: Table, spare: int) -> np.ndarray:
    return np.append(table.ones, table.size + np.arange(spare))


def _is_plain(one: Stored) -> bool:
    return one.values.ndim == 1 and len(np.unique(one.values)) * 2 > one.values.size


def _table(group: Sequence[Stored]) -> Table | None:
    found, places, start = [], [], 0
    for one in group:
        kept = np.flatnonzero(bits_of(one.values.reshape(-1)))
        levels, codes = distinct(one.values.reshape(-1)[kept])
        start_of_next = start + one.values.size * len(levels)
        if not 0 < len(levels) <= MOST or start_of_next > LARGEST or not (np.isfinite(levels) & (levels != 0)).all():
            return None
        found.append(levels)
        places.append(start + kept * len(levels) + codes)
        start = start_of_next
    if not 0 < sum(map(len, places)) <= KEPT:
        return None
    return Table(tuple(group), tuple(found), np.concatenate(places), start)


def _empty(pieces: Pieces, size: int, vectors: Sequence[Stored]) -> str:
    """So many zeros, and the vectors."""
    if not vectors:
        return zeros(pieces, (size,), np.dtype(np.float32))
    values, _ = smallest(pieces, PLAIN, flat(vectors))
    return pieces.node("Pad", values, pieces.whole(size, 0))
