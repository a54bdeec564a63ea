"""How good outputs are, by metric: counts that add up over batches, and the number that they make."""

from typing import Protocol

import numpy as np

from pruning.fit import Goal, MetricName
from pruning.onnx.network import Gives


class Metric(Protocol):
    """count: sums over a batch, as float64; is_score: higher is better."""

    is_score: bool

    def count(self, output: np.ndarray, y: np.ndarray, goal: Goal, ending: Gives) -> np.ndarray:
        """Of a batch; y are the targets, or the dense model's output where the data set has none."""
        ...

    def value(self, counts: np.ndarray) -> float:
        """The metric, from added counts."""
        ...

    def blind(self, counts: np.ndarray, goal: Goal) -> float | None:
        """What an answer that does not look at the example reaches, or nearly; None: not known."""
        ...


class Top1:
    """Share of the examples, or positions, whose class is right."""

    is_score = True

    def count(self, output: np.ndarray, y: np.ndarray, goal: Goal, ending: Gives) -> np.ndarray:
        """[right, all]."""
        predicted = decided(output, goal, ending)
        return np.array([(predicted == y.reshape(predicted.shape)).sum(), predicted.size], np.float64)

    def value(self, counts: np.ndarray) -> float:
        """0 to 1."""
        return float(counts[0] / counts[1])

    def blind(self, counts: np.ndarray, goal: Goal) -> float | None:
        """Chance, and half of it more: at most ten points."""
        chance = 1 / max(goal.classes or 2, 2)
        return chance + min(chance / 2, 0.1)


class Agreement(Top1):
    """Share of the examples for which the dense model decides the same."""

    def count(self, output: np.ndarray, y: np.ndarray, goal: Goal, ending: Gives) -> np.ndarray:
        """[same, all]."""
        return super().count(output, decided(y, goal, ending), goal, ending)

    def blind(self, counts: np.ndarray, goal: Goal) -> float | None:
        """The dense model always agrees with itself."""
        return None


class F1:
    """Micro F1 of labels: 2 right / (said + true), over all examples and labels."""

    is_score = True

    def count(self, output: np.ndarray, y: np.ndarray, goal: Goal, ending: Gives) -> np.ndarray:
        """[said and true, said, true, examples] for each label: (4, labels)."""
        said, true = decided(output, goal, ending).reshape(y.shape), y > 0.5
        return np.stack([(said & true).sum(0), said.sum(0), true.sum(0), np.full(y.shape[1], len(y))]).astype(float)

    def value(self, counts: np.ndarray) -> float:
        """0 to 1; 1 where nothing is said and nothing is true."""
        right, said, true, _ = counts.sum(axis=1)
        return float(2 * right / (said + true)) if said + true else 1.0

    def blind(self, counts: np.ndarray, goal: Goal) -> float | None:
        """Every label said always, or never, whichever is right more often."""
        _, _, true, examples = counts
        said = np.where(true > examples / 2, examples, 0)
        return self.value(np.stack([np.where(said > 0, true, 0), said, true, examples]))


class MSE:
    """Mean squared error."""

    is_score = False

    def count(self, output: np.ndarray, y: np.ndarray, goal: Goal, ending: Gives) -> np.ndarray:
        """[squared error, y, y squared, 1], summed over the examples for each value: (4, values)."""
        output, y = (a.reshape(len(y), -1).astype(np.float64) for a in (output, y))
        return np.stack([((output - y) ** 2).sum(0), y.sum(0), (y**2).sum(0), np.full(y.shape[1], float(len(y)))])

    def value(self, counts: np.ndarray) -> float:
        """0 or more."""
        return float(counts[0].sum() / counts[3].sum())

    def blind(self, counts: np.ndarray, goal: Goal) -> float | None:
        """The mean of the targets, always."""
        return float(_spread(counts) / counts[3].sum())


class R2(MSE):
    """Share of the variance of the dense model's output that is met: 1 is all, 0 no better than its mean."""

    is_score = True

    def value(self, counts: np.ndarray) -> float:
        """At most 1."""
        spread = _spread(counts)
        return float(1 - counts[0].sum() / spread) if spread > 0 else float(counts[0].sum() == 0)

    def blind(self, counts: np.ndarray, goal: Goal) -> float | None:
        """The dense model always agrees with itself."""
        return None


METRICS: dict[MetricName, Metric] = {"top1": Top1(), "f1": F1(), "mse": MSE(), "agreement": Agreement(), "r2": R2()}


def decided(output: np.ndarray, goal: Goal, ending: Gives) -> np.ndarray:
    """The class of each example or position; for yes or no whether it is more likely than not."""
    if goal.kind in ("binary", "labels"):
        half = {"logits": 0.0, "log_probabilities": np.log(0.5)}.get(ending, 0.5)
        return (output > half).reshape(len(output), -1)
    output = output.reshape(len(output), -1) if goal.kind in ("classes", "scores") else output
    return output.argmax(axis=goal.class_axis)


def _spread(counts: np.ndarray) -> float:
    """Squared deviations of the targets from their mean, over all values."""
    _, total, squares, examples = counts
    return float(np.maximum(squares - total**2 / examples, 0).sum())
