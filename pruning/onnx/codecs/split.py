"""Single-precision values as 24 bits of signed mantissa, and exponents as digits: three bytes and a few bits each.

A value is m 2^e with a whole m, 2^23 <= |m| < 2^24. The 2^24 possible m in order, without the hole around zero, are
-2^23 to 2^23 - 1: 65536 h + l with l in two bytes and h in one. Every step of decoding is exact in single precision.
"""

import numpy as np
from onnx import TensorProto

from pruning.onnx.codecs import digits
from pruning.onnx.codecs.pieces import Pieces

MOST, LEAST_VALUES = 16, 256
HALF = 2**23
BITS, BIAS, LOWEST, HIGHEST = 23, 127, 24, 254  # from 24 on 2^(e - 150) is a normal number, and 255 is no number


def emit(pieces: Pieces, values: np.ndarray) -> str | None:
    """Nodes that give the values (n,); None where they are of another type, too few, or of too many magnitudes."""
    if values.dtype != np.float32 or len(values) < LEAST_VALUES:
        return None
    bits = values.view(np.uint32)
    exponent = (bits >> BITS) & 0xFF
    kinds = np.unique(exponent)
    if len(kinds) > MOST or kinds[0] < LOWEST or kinds[-1] > HIGHEST:
        return None
    mantissa = ((bits & (2**BITS - 1)) | 2**BITS).astype(np.int64) * np.where(bits >> 31, -1, 1)
    shifted = mantissa - np.where(mantissa < 0, 1 - HALF, HALF)
    codes = digits.emit(pieces, np.searchsorted(kinds, exponent), digits.base_for(max(len(kinds), 2)), np.int32)
    powers = np.ldexp(np.float32(1), kinds.astype(np.int32) - BIAS - BITS).astype(np.float32)
    return pieces.node("Mul", _whole(pieces, shifted), pieces.node("Gather", pieces.constant(powers), codes))


def _whole(pieces: Pieces, shifted: np.ndarray) -> str:
    """Nodes that give m; with a half more there is no zero between the positive ones and the negative ones."""
    single = np.float32
    high = pieces.node("Cast", pieces.constant((shifted >> 16).astype(np.int8)), to=TensorProto.FLOAT)
    low = pieces.node("Cast", pieces.constant((shifted & 0xFFFF).astype(np.uint16)), to=TensorProto.FLOAT)
    both = pieces.node("Add", pieces.node("Mul", high, pieces.scalar(2**16, single)), low)
    between = pieces.node("Add", both, pieces.scalar(0.5, single))
    further = pieces.node("Mul", pieces.node("Sign", between), pieces.scalar(HALF - 0.5, single))
    return pieces.node("Add", between, further)
