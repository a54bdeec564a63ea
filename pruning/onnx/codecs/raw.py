"""Values as they are."""

import numpy as np

from pruning.onnx.codecs.pieces import Pieces


def emit(pieces: Pieces, values: np.ndarray) -> str:
    """The values (n,) as a stored tensor."""
    return pieces.constant(values)
