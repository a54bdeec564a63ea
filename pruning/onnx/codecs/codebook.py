"""Values as digits that count in a table of the different ones."""

import numpy as np

from pruning.onnx.codecs import digits
from pruning.onnx.codecs.pieces import Pieces

MOST, LOOKED_AT = 256, 4096


def emit(pieces: Pieces, values: np.ndarray) -> str | None:
    """Nodes that give the values (n,); None where more than 256 are different, or there are hardly fewer."""
    if len(np.unique(values[:LOOKED_AT])) > MOST:
        return None
    table, codes = distinct(values)
    if len(table) > MOST or len(table) * 2 > len(values):
        return None
    index = digits.emit(pieces, codes, digits.base_for(max(len(table), 2)), np.int32)
    return pieces.node("Gather", pieces.constant(table), index)


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different bit patterns, and for each value (n,) which it is: 0 and -0 are two."""
    bits = values.view(f"u{values.itemsize}")
    table, codes = np.unique(bits, return_inverse=True)
    return table.view(values.dtype), codes.reshape(-1)
