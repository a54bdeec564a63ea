"""What a list of jobs says of one that has succeeded: the report's numbers in one row. Importable without torch."""

from __future__ import annotations

from pydantic import Field

from pruning.frozen import Frozen
from pruning.headline import speed
from pruning.report import Report


class Result(Frozen):
    """Of the delivered file; the report has where each number comes from."""

    headline: str
    goal_met: bool
    metric: str = Field(description="What accuracy is, such as top1, mse or agreement.")
    accuracy_dense: float
    accuracy_pruned: float
    drop: float = Field(description="How much worse the pruned file is; negative where it is better.")
    pruning_rate: float
    weights_total: int
    weights_kept: int
    bytes_dense: int
    bytes_pruned: int
    bytes_packed: int | None
    dense_ms: float = Field(description="For a call, on one thread.")
    pruned_ms: float
    speedup: float
    spread: float
    speed: str = Field(default="", description="In words: how much faster, where the timings are sure of it.")
    lost_much: bool = Field(default=False, description="More than chance, and enough to be worth another job.")

    @classmethod
    def of(cls, report: Report) -> Result:
        """The row of a report."""
        accuracy, compression, latency = report.accuracy, report.compression, report.latency
        return cls(
            headline=report.headline,
            goal_met=report.goal_met,
            metric=accuracy.metric,
            accuracy_dense=accuracy.dense,
            accuracy_pruned=accuracy.pruned,
            drop=accuracy.drop,
            pruning_rate=compression.pruning_rate,
            weights_total=compression.weights_total,
            weights_kept=compression.weights_kept,
            bytes_dense=compression.bytes.dense,
            bytes_pruned=compression.bytes.pruned,
            bytes_packed=compression.bytes.packed,
            dense_ms=latency.dense_ms,
            pruned_ms=latency.pruned_ms,
            speedup=latency.speedup,
            spread=latency.spread,
            speed=speed(latency),
            lost_much=accuracy.is_large_loss,
        )
