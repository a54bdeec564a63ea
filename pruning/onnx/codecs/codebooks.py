"""Tensors of a few levels each, zero among them, as digits in one stream: each counts in a table of its own."""

from collections.abc import Sequence

import numpy as np

from pruning.onnx.codecs import digits
from pruning.onnx.codecs.codebook import LOOKED_AT, distinct
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Stored, cut

MOST = 16  # levels; with more, a table takes more than nodes do


def emit(pieces: Pieces, group: Sequence[Stored]) -> str | None:
    """Nodes that give the tensors; None where one has too many levels, or there is one only."""
    if len(group) < 2 or any(len(np.unique(one.values.reshape(-1)[:LOOKED_AT])) > MOST for one in group):
        return None
    found = [distinct(one.values.reshape(-1)) for one in group]
    most = max(len(levels) for levels, _ in found)
    if most > MOST:
        return None
    base = digits.base_for(max(most, 2))
    per = digits.PER_BYTE[base]
    by_rows = all(one.values.size % per == 0 for one in group)
    stream = np.concatenate([codes for _, codes in found])
    table = (digits.emit_rows if by_rows else digits.emit)(pieces, stream, base, np.int32)
    shared = len({levels.tobytes() for levels, _ in found}) == 1
    if shared:
        table = pieces.node("Gather", pieces.constant(found[0][0]), table)
    sizes = [one.values.size // (per if by_rows else 1) for one in group]
    parts = cut(pieces, table, sizes, [pieces.name() for _ in group])
    for one, part, (levels, _) in zip(group, parts, found, strict=True):
        shape = pieces.whole(*one.values.shape)
        if shared:
            pieces.node("Reshape", part, shape, out=one.name)
        else:
            pieces.node("Gather", pieces.constant(levels), pieces.node("Reshape", part, shape), out=one.name)
    return "codebooks"
