"""Tensors of a few levels each, in one stream of positions for all.

A weight that is not zero stands at (place, level) in a table of ones and zeros with a row for each weight and a
column for each level; the rows of all tensors are one sequence, so that one gap says where the next weight is and
which level it has. A tensor is its rows times its levels, which is exact: all addends but one are zero. The table is
single precision, 4 bytes for each weight and level while a session is made: this is for small nets.
"""

from collections.abc import Sequence

import numpy as np

from pruning.onnx.codecs.codebook import distinct
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.sparse import POSITIONS, zeros
from pruning.onnx.codecs.stored import Stored, bits_of, cut, smallest

MOST, LARGEST, KEPT = 64, 2**22, 2**13  # levels of a tensor; numbers in the table; ones in it


def emit(pieces: Pieces, group: Sequence[Stored]) -> str | None:
    """Nodes that give the tensors; returns how they are kept, None where there are too many levels or weights."""
    if any(one.values.dtype != np.float32 for one in group):
        return None
    tables, places, start = [], [], 0
    for one in group:
        kept = np.flatnonzero(bits_of(one.values.reshape(-1)))
        levels, codes = distinct(one.values.reshape(-1)[kept])
        start_of_next = start + one.values.size * len(levels)
        if not 0 < len(levels) <= MOST or start_of_next > LARGEST or not (np.isfinite(levels) & (levels != 0)).all():
            return None
        tables.append(levels)
        places.append(start + kept * len(levels) + codes)
        start = start_of_next
    if sum(map(len, places)) > KEPT:
        return None
    where, how = smallest(pieces, POSITIONS, np.concatenate(places))
    ones = where.ones or pieces.node("Expand", pieces.scalar(1, np.float32), pieces.whole(sum(map(len, places))))
    table = pieces.node("ScatterElements", zeros(pieces, (start,), np.dtype(np.float32)), where.indices, ones)
    sizes = [one.values.size * len(levels) for one, levels in zip(group, tables, strict=True)]
    parts = cut(pieces, table, sizes, [pieces.name() for _ in group]) if len(group) > 1 else [table]
    for one, part, levels in zip(group, parts, tables, strict=True):
        rows = pieces.node("Reshape", part, pieces.whole(*one.values.shape, len(levels)))
        pieces.node("MatMul", rows, pieces.constant(levels), out=one.name)
    return f"{how}, levels"
