"""What is not zero in a group of tensors, and where it stands, in two streams."""

from collections.abc import Callable, Sequence

import numpy as np
from onnx import numpy_helper

from pruning.onnx.codecs import codebook, gaps, golomb, raw, split
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Emit, Places, Stored, bits_of, flat, separate, smallest

POSITIONS: dict[str, Callable[[Pieces, np.ndarray], Places | None]] = {"gaps": gaps.emit, "golomb": golomb.emit}
VALUES: dict[str, Emit] = {"raw": raw.emit, "codebook": codebook.emit, "split": split.emit}

MOST = 0.95  # share of values that are kept, where their places may gain


def emit(pieces: Pieces, group: Sequence[Stored]) -> str | None:
    """Nodes that give the tensors; returns how they are kept, None where there are few zeros."""
    values = flat(group)
    kept = np.flatnonzero(bits_of(values))
    if len(kept) > MOST * len(values):
        return None
    if not len(kept):
        for one in group:
            zeros(pieces, one.values.shape, values.dtype, one.name)
        return "zeros"
    where, positions = smallest(pieces, POSITIONS, kept)
    what, kind = smallest(pieces, VALUES, values[kept])
    empty = zeros(pieces, values.shape, values.dtype)
    separate(pieces, pieces.node("ScatterElements", empty, where.indices, what), group)
    return f"{positions}, {kind}"


def zeros(pieces: Pieces, shape: tuple[int, ...], dtype: np.dtype, out: str | None = None) -> str:
    """A node that gives zeros."""
    value = {} if dtype == np.float32 else {"value": numpy_helper.from_array(np.zeros(1, dtype))}
    return pieces.node("ConstantOfShape", pieces.whole(*shape), out=out, **value)
