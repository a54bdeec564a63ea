"""Vectors as whole numbers of a byte times one step for all: the only codec that loses something."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Stored, flat, separate

MOST, LEAST = 127, 8  # a tensor whose largest value is fewer steps is not rounded


def fitting(group: Sequence[Stored]) -> tuple[Stored, ...]:
    """Those of vectors in single precision that a step made for the largest of them suits."""
    single = [one for one in group if one.values.dtype == np.float32]
    largest = max((float(np.abs(one.values).max(initial=0)) for one in single), default=0.0)
    return tuple(one for one in single if np.abs(one.values).max(initial=0) * MOST > LEAST * largest)


def emit(pieces: Pieces, group: Sequence[Stored]) -> str | None:
    """Nodes that give the tensors, each value within half a step; returns how, None where nothing is lost or gained."""
    values = flat(group)
    step = np.float32(np.abs(values).max(initial=0) / MOST)
    if values.dtype != np.float32 or not step > np.finfo(np.float32).tiny:
        return None
    rounded = pieces.node("Cast", pieces.constant(np.rint(values / step).astype(np.int8)), to=TensorProto.FLOAT)
    separate(pieces, pieces.node("Mul", rounded, pieces.scalar(float(step), np.float32)), group)
    return "int8"
