"""When the dense model is no better than chance: what was assumed, and what to try."""

from collections.abc import Mapping

import numpy as np

from pruning.analysis import Preprocess
from pruning.fit import Goal
from pruning.metrics import METRICS
from pruning.report import Accuracy

LOOKED_AT = 100  # examples whose range is told
PIXELS = 2.0  # a largest value beyond it means pixels that nobody scaled


def doubt(goal: Goal, counts: np.ndarray, preprocess: Preprocess, x: Mapping[str, np.ndarray]) -> str | None:
    """A sentence, where the dense model's counts are no better than a blind guess; None: nothing to say.

    Args: x: some prepared examples by input.
    """
    metric = METRICS[goal.metric]
    value, blind = metric.value(counts), metric.blind(counts, goal)
    if blind is None or (value > blind if metric.is_score else value < blind):
        return None
    least, most = min(float(v.min()) for v in x.values()), max(float(v.max()) for v in x.values())
    return (
        f"the dense model itself is about as good as chance ({Accuracy.named(goal.metric)} "
        f"{Accuracy.formatted(goal.metric, value)}): examples were read with {preprocess.in_words()} and then lie "
        f"between {least:.3g} and {most:.3g}; {_advice(preprocess, most, any(v.ndim == 4 for v in x.values()))}"
    )


def regrown(weights: int, kept: int, left: int) -> str | None:
    """A sentence, where a model came with so many zeros that the budget asks for none; None: nothing to say.

    Args: kept: weights of the model that are not zero; left: that may stay.
    """
    if kept > left or kept == weights:
        return None
    return (
        f"{weights - kept:,} of the model's {weights:,} weights were zero before the job, and the budget leaves "
        f"{left:,}, no fewer than the {kept:,} that it has: zeros may grow back; for fewer weights ask for a "
        f"pruning rate above {weights / max(kept, 1):.3g}"
    )


def pruned_before(weights: int, kept: int) -> str:
    """Args: kept: weights of the model that are not zero."""
    return (
        f"{weights - kept:,} of the model's {weights:,} weights were zero before the job: what it took away is to be "
        f"compared with the {kept:,} others"
    )


def _advice(preprocess: Preprocess, most: float, are_images: bool) -> str:
    tries = []
    if are_images and most > PIXELS and preprocess.scale == 1:
        tries.append("most nets take pixels between 0 and 1, which is scale=0.00392157")
    elif are_images and preprocess.mean == (0.0,):
        tries.append("many nets take examples that were normalised by mean and std")
    tries.append("upload the data set again with the scale, mean, std and layout that the model was trained with")
    return f"{'; '.join(tries)}, and check that its labels are in the model's order and meant for this output"
