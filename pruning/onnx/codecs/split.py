"""Single-precision values as 24 bits of signed mantissa, and exponents as digits: three bytes and a few bits each.

A value is m 2^e with a whole m, 2^23 <= |m| < 2^24. The 2^24 possible m in order, without the hole around zero, are
-2^23 to 2^23 - 1: 65536 h + l with l in two bytes and h in one. Every step of decoding is exact in single precision.
A zero has an exponent of its own, whose power is 0.
"""

import numpy as np
from onnx import TensorProto

from pruning.onnx.codecs import digits
from pruning.onnx.codecs.pieces import Pieces

LEAST_VALUES = 256
HALF, BITS, BIAS = 2**23, 23, 127
ZERO, LOWEST, HIGHEST = 0, 24, 254  # of exponents: from 24 on 2^(e - 150) is a normal number, and 255 is none
APART = 8  # bytes, about, of a value that is kept apart
RARE = 0.05  # share of values that may be


def emit(pieces: Pieces, values: np.ndarray) -> str | None:
    """Nodes that give the values (n,), a few of rare exponents kept apart; None where this is not for them."""
    if values.dtype != np.float32 or len(values) < LEAST_VALUES:
        return None
    bits = values.view(np.uint32)
    exponent = (bits >> BITS) & 0xFF
    exponent[(exponent == ZERO) & (bits != 0)] = HIGHEST + 1  # negative zeros, and what is too small to be normal
    kinds, base = _kinds(np.bincount(exponent, minlength=256))
    apart = np.flatnonzero(~np.isin(exponent, kinds))
    if len(apart) > RARE * len(values):
        return None
    mantissa = ((bits & (HALF - 1)) | HALF).astype(np.int64) * np.where(bits >> 31, -1, 1)
    shifted = mantissa - np.where(mantissa < 0, 1 - HALF, HALF)
    index = digits.emit(pieces, np.searchsorted(kinds, exponent) % len(kinds), base, np.int32)
    powers = np.ldexp(np.float32(1), kinds.astype(np.int32) - BIAS - BITS).astype(np.float32)
    powers[kinds == ZERO] = 0
    found = pieces.node("Mul", _whole(pieces, shifted), pieces.node("Gather", pieces.constant(powers), index))
    if len(apart):
        found = pieces.node("ScatterElements", found, pieces.whole(*apart.tolist()), pieces.constant(values[apart]))
    return found


def _kinds(times: np.ndarray) -> tuple[np.ndarray, int]:
    """The exponents that get a digit, ascending, and the digits' base: the fewest bytes with the others apart."""
    usable = np.zeros_like(times)
    usable[LOWEST : HIGHEST + 1] = times[LOWEST : HIGHEST + 1]
    usable[ZERO] = times[ZERO]
    order = np.argsort(-usable, kind="stable")
    bytes_of = {
        base: times.sum() / digits.PER_BYTE[base] + APART * (times.sum() - usable[order[:base]].sum())
        for base in digits.BASES[:-1]
    }
    base = min(bytes_of, key=lambda b: bytes_of[b])
    kinds = np.sort(order[:base])
    return kinds[usable[kinds] > 0], base


def _whole(pieces: Pieces, shifted: np.ndarray) -> str:
    """Nodes that give m; with a half more there is no zero between the positive ones and the negative ones."""
    single = np.float32
    high = pieces.node("Cast", pieces.constant((shifted >> 16).astype(np.int8)), to=TensorProto.FLOAT)
    low = pieces.node("Cast", pieces.constant((shifted & 0xFFFF).astype(np.uint16)), to=TensorProto.FLOAT)
    both = pieces.node("Add", pieces.node("Mul", high, pieces.scalar(2**16, single)), low)
    between = pieces.node("Add", both, pieces.scalar(0.5, single))
    further = pieces.node("Mul", pieces.node("Sign", between), pieces.scalar(HALF - 0.5, single))
    return pieces.node("Add", between, further)
