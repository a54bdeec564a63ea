"""Where training stands, out of the series of numbers."""

from dataclasses import dataclass

from secateur.report import METRICS, formatted
from secateur.rows import Metrics


@dataclass(frozen=True)
class Round:
    """The last round; accuracy is what pruning at once would give, dense what the model had."""

    phase: str
    round: int
    metric: str
    accuracy: float | None
    dense: float | None
    pruning_rate: float | None

    def in_words(self) -> str:
        """The accuracy for people."""
        if self.accuracy is None:
            return ""
        name, _ = METRICS.get(self.metric, (self.metric, ""))
        was = f" (dense {formatted(self.metric, self.dense)})" if self.dense is not None else ""
        return f"{name} {formatted(self.metric, self.accuracy)}{was}, on validation examples"


def last_round(metrics: Metrics) -> Round | None:
    """None before the first."""
    if not metrics["step"]:
        return None
    pruned, unpruned = metrics["accuracy_pruned"][-1], metrics["accuracy"][-1]
    return Round(
        metrics["phase"][-1],
        metrics["round"][-1],
        metrics["metric"][-1],
        unpruned if pruned is None else pruned,
        metrics["accuracy"][0],
        metrics["pruning_rate"][-1],
    )
