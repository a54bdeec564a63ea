"""Values as whole numbers of a byte times one step for all: what biases are rounded to."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Stored

MOST, LEAST = 127, 8  # a tensor whose largest value is fewer steps is not rounded


def rounded(group: Sequence[Stored]) -> tuple[Stored, ...]:
    """Those of vectors in single precision that a step made for the largest of them suits, within half a step."""
    single = [one for one in group if one.values.dtype == np.float32]
    largest = max((float(np.abs(one.values).max(initial=0)) for one in single), default=0.0)
    step = np.float32(largest / MOST)
    if not np.finfo(np.float32).tiny < step < np.inf:
        return ()
    fitting = [one for one in single if np.abs(one.values).max(initial=0) * MOST > LEAST * largest]
    return tuple(Stored(one.name, np.rint(one.values / step).astype(np.int8) * step) for one in fitting)


def emit(pieces: Pieces, values: np.ndarray) -> str | None:
    """Nodes that give the values (n,); None where they are not of this kind."""
    found = _whole(values) if values.dtype == np.float32 else None
    if found is None:
        return None
    whole, step = found
    floats = pieces.node("Cast", pieces.constant(whole), to=TensorProto.FLOAT)
    return pieces.node("Mul", floats, pieces.scalar(float(step), np.float32))


def _whole(values: np.ndarray) -> tuple[np.ndarray, np.float32] | None:
    """Numbers from -127 to 127 and the step; dividing may have moved that by a last digit."""
    near = np.float32(np.abs(values).max(initial=0) / MOST)
    if not np.finfo(np.float32).tiny < near < np.inf:
        return None
    for step in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))):
        whole = np.clip(np.rint(values / step), -MOST, MOST).astype(np.int8)
        if np.array_equal((whole * step).view(np.uint32), values.view(np.uint32)):
            return whole, step
    return None
