"""Training losses. What the graph ends in is accounted for: a loss means the same with a Softmax or Sigmoid in it."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from pruning.fit import Goal
from pruning.onnx.network import Gives
from pruning.processes import ALONE, Group

TINY = 1e-12


def cross_entropy(output: Tensor, y: Tensor, ending: Gives, goal: Goal) -> Tensor:
    """Of one class an example, or a position. output: (N, C, ...) with the classes along goal.class_axis."""
    output = output.flatten(1) if goal.kind == "classes" else output
    return F.cross_entropy(_log_scores(output, ending).movedim(goal.class_axis, 1), y)


def binary_cross_entropy(output: Tensor, y: Tensor, ending: Gives, goal: Goal) -> Tensor:
    """Of yes or no for each value; output has as many values as y."""
    output, y = output.reshape(y.shape), y.float()
    if ending == "logits":
        return F.binary_cross_entropy_with_logits(output, y)
    return F.binary_cross_entropy(output.exp() if ending == "log_probabilities" else output, y)


def mse(output: Tensor, y: Tensor, ending: Gives, goal: Goal) -> Tensor:
    """Mean squared error; output has as many values as y."""
    return F.mse_loss(output.reshape(y.shape), y)


LOSSES = {"cross_entropy": cross_entropy, "binary_cross_entropy": binary_cross_entropy, "mse": mse}


def distance(
    outputs: Mapping[str, Tensor],
    taught: Mapping[str, Tensor],
    endings: Mapping[str, Gives],
    goal: Goal,
    temperature: float,
    taught_endings: Mapping[str, Gives] | None = None,
    group: Group = ALONE,
) -> Tensor:
    """From what the teacher gives, summed over the outputs that are taught. taught_endings: the teacher's, if others;
    group: shares the batch.

    KL divergence at a temperature for rows of class scores (Hinton et al. 2015); for all else the mean squared error,
    relative to the mean square of the dense model's deviations from its mean, so that outputs of any scale weigh the
    same.
    """
    learned = [k for k, output in taught.items() if output.is_floating_point()]
    theirs = endings if taught_endings is None else taught_endings
    found = [_one_distance((outputs[k], taught[k]), (endings[k], theirs[k]), goal, temperature, group) for k in learned]
    return torch.stack(found).sum()


def _one_distance(
    pair: tuple[Tensor, Tensor], endings: tuple[Gives, Gives], goal: Goal, temperature: float, group: Group
) -> Tensor:
    output, taught = pair
    if sum(n > 1 for n in output.shape[1:]) == 1:  # one row of scores, whatever axes of length 1 are beside it
        output, taught = output.flatten(1), taught.flatten(1)
    if goal.loss == "mse" or "sigmoid" in endings or output.dim() != 2 or output.shape[1] < 2:
        variance = group.moments(taught, (0,))[0].mean()
        return F.mse_loss(output, taught) / (variance + 1e-6 * group.mean(taught.square()) + TINY)
    scores = (_log_scores(z, ending) for z, ending in zip((output, taught), endings, strict=True))
    student, teacher = (F.log_softmax(z / temperature, 1) for z in scores)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def _log_scores(output: Tensor, ending: Gives) -> Tensor:
    """Logits, up to a constant in each row."""
    return output if ending in ("logits", "log_probabilities") else output.clamp_min(TINY).log()
