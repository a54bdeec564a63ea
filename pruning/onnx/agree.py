"""Whether a file computes what a network computes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pruning.measure import Feeds, run, session
from pruning.onnx.network import Network


@dataclass(frozen=True)
class Agreement:
    """max_abs: the largest difference over all outputs; relative: the largest of them over its output's largest value.

    shapes: of the outputs, by name; finite: the file gave no NaN, and nothing above all numbers (a mask may be below).
    """

    max_abs: float
    relative: float
    shapes: Mapping[str, tuple[int, ...]]
    finite: bool = True


def compare(content: bytes, network: Network, x: Feeds) -> Agreement | None:
    """The network in evaluation mode against ONNX Runtime; None where the shapes of their outputs differ.

    Args: x: a batch. Where both are not a number they agree; where one is, the difference counts as infinite.
    Raises: RejectedModel, OutOfMemory: of ONNX Runtime; whatever the network's own operators raise.
    """
    expected = run(session(content), x)
    network.module.eval()
    with torch.no_grad():
        got = {name: y.numpy() for name, y in network({k: torch.from_numpy(v) for k, v in x.items()}).items()}
    if any(got[name].shape != y.shape for name, y in expected.items()):
        return None
    found = [difference(got[name], y) for name, y in expected.items()]
    finite = not any(np.isnan(y).any() or np.isposinf(y).any() for y in expected.values() if y.dtype.kind == "f")
    shapes = {k: y.shape for k, y in expected.items()}
    return Agreement(max(f[0] for f in found), max(f[1] for f in found), shapes, finite)


def difference(got: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Of a value: the largest, and that relative to the largest value; infinite where one of them is no number."""
    if not expected.size:
        return 0.0, 0.0
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = float(np.nan_to_num(np.where(same, 0, np.abs(got - expected)), nan=np.inf, posinf=np.inf).max())
    finite = np.abs(expected[np.isfinite(expected)])
    return difference, difference / max(float(finite.max(initial=0)), 1e-6)
