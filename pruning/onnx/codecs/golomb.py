"""Positions in Golomb's code: gaps modulo M as digits, what is above as ones and zeros.

Source: S. W. Golomb, Run-length encodings, 1966. The sum of the high parts up to the i-th position is the place of the
i-th one less i, so that position = M place - sum of (M - 1 - low), but for a constant that the first one takes up.
TopK finds the places: its output has a known size, which NonZero's has not, and ties keep their order.
"""

import numpy as np

from pruning.onnx.codecs import digits
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Places

NODES = 150  # bytes, about, of those that unpack digits
MODULI = {1: (), **{base: (base,) for base in digits.BASES}} | {
    base * high: (base, high) for base, high in ((4, 2), (6, 2), (16, 2), (16, 4), (256, 2), (256, 4), (256, 16))
}  # and the bases of its digits, least first


def emit(pieces: Pieces, positions: np.ndarray) -> Places:
    """Nodes that give the positions (n,), which ascend."""
    modulus = min(MODULI, key=lambda m: _bytes(positions, m))
    places, low = encode(positions, modulus)
    ones = np.zeros(int(places[-1]) + 1, dtype=np.uint8)
    ones[places] = 1
    bits = digits.emit_bits(pieces, ones)
    top, found = pieces.nodes_outputs("TopK", [bits, pieces.whole(len(places))], [pieces.name(), pieces.name()])
    floats = top if pieces.opset >= digits.WITH_BITWISE else None
    if modulus == 1:
        return Places(found, floats)
    scaled = pieces.node("Mul", found, pieces.scalar(modulus))
    summed = pieces.node("CumSum", _low(pieces, low, *MODULI[modulus]), pieces.scalar(0))
    return Places(pieces.node("Sub", scaled, summed), floats)


def _low(pieces: Pieces, low: np.ndarray, base: int, *above: int) -> str:
    found = digits.emit(pieces, low % base, base, np.int64)
    for high in above:
        more = pieces.node("Mul", digits.emit(pieces, low // base, high, np.int64), pieces.scalar(base))
        found = pieces.node("Add", found, more)
    return found


def encode(positions: np.ndarray, modulus: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the ones, and M - 1 - gap mod M, both (n,): position = M place - running sum of the latter."""
    gaps = np.diff(positions) - 1
    first = -(-positions[:1] // modulus)
    places = np.cumsum(np.concatenate([first, gaps // modulus + 1]))
    low = np.concatenate([first * modulus - positions[:1], modulus - 1 - gaps % modulus])
    return places, low


def _bytes(positions: np.ndarray, modulus: int) -> int:
    gaps = np.diff(positions) - 1
    ones = len(positions) + int(positions[0] // modulus) + int((gaps // modulus).sum())
    return ones // 8 + sum(len(positions) // digits.PER_BYTE[base] + NODES for base in MODULI[modulus])
