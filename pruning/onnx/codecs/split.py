"""Single-precision values as 24 bits of signed mantissa, and exponents as digits: three bytes and a few bits each.

A value is m 2^e with a whole m, 2^23 <= |m| < 2^24. m = 65536 h + l with l in 0..65535 leaves h in -256..-129 or
128..255, which is one byte. Every step of decoding is exact in single precision.
"""

import numpy as np
from onnx import TensorProto

from pruning.onnx.codecs import digits
from pruning.onnx.codecs.pieces import Pieces

MOST, LEAST_VALUES = 16, 512
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
    high, low = mantissa >> 16, mantissa & 0xFFFF
    head = pieces.node("Cast", pieces.constant((high % 256).astype(np.uint8)), to=TensorProto.INT32)
    head = pieces.node("Gather", pieces.constant(_heads()), head)
    tail = pieces.node("Cast", pieces.constant(low.astype(np.uint16)), to=TensorProto.FLOAT)
    whole = pieces.node("Add", head, tail)
    codes = digits.emit(pieces, np.searchsorted(kinds, exponent), digits.base_for(max(len(kinds), 2)), np.int32)
    powers = np.ldexp(np.float32(1), kinds.astype(np.int32) - BIAS - BITS).astype(np.float32)
    return pieces.node("Mul", whole, pieces.node("Gather", pieces.constant(powers), codes))


def _heads() -> np.ndarray:
    """65536 h by h modulo 256."""
    byte = np.arange(256)
    return ((byte - 256 * (byte < 128)) * 65536).astype(np.float32)
