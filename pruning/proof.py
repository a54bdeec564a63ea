"""That delivered files compute what was trained, shown by running them."""

import numpy as np
import onnx
from onnx import ModelProto

from pruning.account import Trained
from pruning.errors import WrongDelivery
from pruning.measure import Feeds, run, session
from pruning.onnx.agree import compare, difference
from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import HALVES
from pruning.report import Checks

LIMIT, HALF_LIMIT = 1e-4, 2e-2  # relative; half precision rounds the weights
EXACT, HALF_EXACT = 1e-5, 2e-2  # relative; sums are taken in another order
EXAMPLES_COMPARED = 64


def verify(pruned: bytes, masked: bytes, trained: Trained, zeros: int) -> Checks:
    """Held against the trained network, and against the user's own graph with the same weights, on random input and
    on real examples that are not the test split's.

    Sums in another order differ: as much as the same graph does in ONNX Runtime and in torch is never wrong.
    Raises: WrongDelivery.
    """
    onnx.checker.check_model(ModelProto.FromString(pruned))
    examples = examples_of(trained)
    found = [compare(pruned, trained.network, x) for x in examples]
    limit = HALF_LIMIT if _is_half(trained) else LIMIT
    if not all(agreement is not None and agreement.relative <= limit for agreement in found):
        raise WrongDelivery
    if masked != pruned:
        change(masked, pruned, examples, max(exactness(trained), *(_rounding(masked, trained, x) for x in examples)))
    worst = max(agreement.max_abs for agreement in found if agreement is not None)
    return Checks(opens=True, checker=True, agrees_max_abs=worst, zeros_counted=zeros)


def change(one: bytes, other: bytes, examples: list[Feeds], within: float | None = None) -> float:
    """The largest difference between the outputs of two files.

    Args: within: the most that is right, relative to an output's largest value. Raises: WrongDelivery: it is more.
    """
    if one == other:
        return 0.0
    sessions = session(one), session(other)
    found = []
    for x in examples:
        before, after = (run(s, x) for s in sessions)
        if any(before[name].shape != y.shape for name, y in after.items()):
            raise WrongDelivery
        found += [difference(after[name], y) for name, y in before.items()]
    if within is not None and any(relative > within for _, relative in found):
        raise WrongDelivery
    return max(absolute for absolute, _ in found)


def exactness(trained: Trained) -> float:
    """The largest difference between two files with the same weights, relative to an output's largest value."""
    return HALF_EXACT if _is_half(trained) else EXACT


def _rounding(masked: bytes, trained: Trained, x: Feeds) -> float:
    agreement = compare(masked, trained.network, x)
    return 0.0 if agreement is None else min(agreement.relative, LIMIT)


def examples_of(trained: Trained) -> list[Feeds]:
    """Real examples, and noise as large as they are."""
    x = trained.dataset.train.prepared(slice(0, min(EXAMPLES_COMPARED, len(trained.dataset.train))))
    return [x, _noise(x)]


def _noise(x: Feeds) -> dict[str, np.ndarray]:
    """Random numbers as large as these; whole numbers, such as token ids, in another order."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.random(v.shape, dtype=np.float32) * max(float(np.abs(v).max()), 1e-6)).astype(v.dtype)
        if v.dtype.kind == "f"
        else rng.permuted(v.reshape(-1)).reshape(v.shape)
        for name, v in x.items()
    }


def _is_half(trained: Trained) -> bool:
    tensors = stored_tensors(trained.model)
    return any(tensors[s.tensor].data_type in HALVES for s in trained.network.sources.values())
