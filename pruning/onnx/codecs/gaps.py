"""Positions as the gaps between them: a byte each, or numbers of variable length as protobuf stores them."""

import numpy as np
from onnx import TensorProto

from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Places

LARGEST = 255


def emit(pieces: Pieces, positions: np.ndarray) -> Places | None:
    """Nodes that give the positions (n,), which ascend; None where gaps are too many or too wide for this."""
    gaps = np.diff(positions, prepend=0)
    if len(gaps) > 2**16 and gaps.max() > LARGEST:
        return None
    if gaps.max() <= LARGEST and (len(gaps) > 2**16 or _spilt(gaps) > 25):
        stream = pieces.node("Cast", pieces.constant(gaps.astype(np.uint8)), to=TensorProto.INT64)
    else:
        stream = pieces.constant(gaps.astype(np.int64))
    return Places(pieces.node("CumSum", stream, pieces.scalar(0)))


def _spilt(gaps: np.ndarray) -> int:
    """Second bytes of numbers of variable length; a node that casts takes 25."""
    return int((gaps > 127).sum())
