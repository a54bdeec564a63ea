"""Digits of a small base, as many as fit into a byte."""

import numpy as np
from onnx import TensorProto, helper

from pruning.onnx.codecs.pieces import Pieces

PER_BYTE = {2: 8, 3: 5, 4: 4, 6: 3, 16: 2, 256: 1}  # by the largest base that leaves room for so many
BASES = tuple(PER_BYTE)
WITH_BITWISE = 18  # opset


def base_for(kinds: int) -> int:
    """The base of which the most digits fit into a byte, of those with so many digits. Raises: StopIteration."""
    return next(base for base in BASES if base >= kinds)


def pack(digits: np.ndarray, base: int) -> np.ndarray:
    """Digits (n,) below the base as bytes (ceil(n / per byte),), the first digit of a byte least."""
    per = PER_BYTE[base]
    rows = np.zeros(-(-len(digits) // per) * per, dtype=np.uint8)
    rows[: len(digits)] = digits
    powers = base ** np.arange(per)
    return (rows.reshape(-1, per) * powers).sum(axis=1, dtype=np.int64).astype(np.uint8)


def emit(pieces: Pieces, digits: np.ndarray, base: int, dtype: type[np.generic], trim: bool = True) -> str:
    """Nodes that give the digits (n,); without trim, and zeros up to a whole byte."""
    per = PER_BYTE[base]
    if per == 1:
        return pieces.node("Cast", pieces.constant(pack(digits, base)), to=onnx_type(dtype))
    table = emit_rows(pieces, digits, base, dtype)
    whole = -(-len(digits) // per) * per
    flat = pieces.node("Reshape", table, pieces.whole(whole))
    if trim and whole != len(digits):
        flat = pieces.node("Slice", flat, pieces.whole(0), pieces.whole(len(digits)))
    return flat


def emit_rows(pieces: Pieces, digits: np.ndarray, base: int, dtype: type[np.generic]) -> str:
    """Nodes that give the digits as (bytes, digits in each)."""
    column = pieces.node("Cast", pieces.constant(pack(digits, base).reshape(-1, 1)), to=onnx_type(dtype))
    shifted = pieces.node("Div", column, pieces.constant((base ** np.arange(PER_BYTE[base])).astype(dtype)))
    return pieces.node("Mod", shifted, pieces.scalar(base, dtype))


def emit_bits(pieces: Pieces, bits: np.ndarray) -> str:
    """Nodes that give zeros and ones, up to a whole byte: float32 where the opset has BitwiseAnd, else int32."""
    if pieces.opset < WITH_BITWISE:
        return emit(pieces, bits, 2, np.int32, trim=False)
    packed = pack(bits, 2).reshape(-1, 1)
    table = pieces.node("BitwiseAnd", pieces.constant(packed), pieces.constant(2 ** np.arange(8, dtype=np.uint8)))
    flat = pieces.node("Reshape", pieces.node("Sign", table), pieces.whole(packed.size * 8))
    return pieces.node("Cast", flat, to=TensorProto.FLOAT)


def onnx_type(dtype: type[np.generic] | np.dtype) -> int:
    """Number of an element type in ONNX."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
