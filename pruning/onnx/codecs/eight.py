"""Vectors as whole numbers of a byte times one step for all: the only codec that loses something."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Stored, flat, separate

MOST, LEAST = 127, 8  # a tensor whose largest value is fewer steps is not rounded


def emit(pieces: Pieces, group: Sequence[Stored]) -> str | None:
    """Nodes that give the tensors, each value within half a step; returns how, None where nothing is lost or gained."""
    values = flat(group)
    step = np.float32(np.abs(values).max(initial=0) / MOST)
    if values.dtype != np.float32 or not step > np.finfo(np.float32).tiny:
        return None
    if any(0 < np.abs(one.values).max(initial=0) < LEAST * step for one in group):
        return None
    rounded = pieces.node("Cast", pieces.constant(np.rint(values / step).astype(np.int8)), to=TensorProto.FLOAT)
    separate(pieces, pieces.node("Mul", rounded, pieces.scalar(float(step), np.float32)), group)
    return "int8"
