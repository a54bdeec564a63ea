"""Whom the pipeline tells how a job goes: the command line, the worker, a test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pruning.phases import Phase as Phase
from pruning.stages.problem import Checkpoint


@dataclass(frozen=True)
class Metric:
    """Numbers of one round; measure: what its accuracy is, such as top1 or mse.

    step counts rounds over the whole job: 0 is the dense net, then ADMM, then retraining. layers: share of each
    layer's weights that are near zero now.
    """

    step: int
    phase: Phase
    round: int
    values: Mapping[str, float]
    measure: str = "top1"
    layers: Mapping[str, float] = field(default_factory=dict)


class Listener(Protocol):
    """progress is the share of the job that is done, 0 to 1."""

    def phase(self, name: Phase, progress: float) -> None:
        """A part of the job begins."""

    def progress(self, progress: float) -> None:
        """Called after every training step: must be cheap."""

    def metric(self, metric: Metric) -> None:
        """A round has ended."""

    def warning(self, text: str) -> None:
        """Something that somebody should look into before the result is used."""

    def checkpoint(self, make: Callable[[], Checkpoint]) -> None:
        """A point to go on from; make() copies the tensors."""

    def should_stop(self) -> bool:
        """Asked after every training step; True ends the job with Cancelled."""
        return False


class Silent(Listener):
    """Does nothing at all; one that derives from it says what it does."""
