"""Whether a file computes what a network computes."""

from dataclasses import dataclass

import numpy as np
import torch

from pruning.measure import run, session
from pruning.onnx.network import Network


@dataclass(frozen=True)
class Agreement:
    """max_abs: the largest difference; relative: that, over the largest output of the file; shape: of the output."""

    max_abs: float
    relative: float
    shape: tuple[int, ...]


def compare(content: bytes, network: Network, x: np.ndarray) -> Agreement | None:
    """The network in evaluation mode against ONNX Runtime; None where the shapes of their outputs differ.

    Args: x: a batch. A difference that is not a number counts as infinite.
    Raises: RejectedModel, OutOfMemory: of ONNX Runtime; whatever the network's own operators raise.
    """
    expected = run(session(content), x)
    with torch.no_grad():
        got = network.module.eval()(torch.from_numpy(x)).numpy()
    if got.shape != expected.shape:
        return None
    difference = float(np.nan_to_num(np.abs(got - expected), nan=np.inf).max())
    return Agreement(difference, difference / max(float(np.abs(expected).max()), 1e-6), expected.shape)
