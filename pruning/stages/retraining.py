"""Masked retraining: what is zero stays zero; the network ends as its best epoch on the validation split.

Source: Ye et al. 2018, 2.3.
"""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from pruning.errors import Diverged
from pruning.settings import Retrain
from pruning.stages.mean import Mean
from pruning.stages.problem import NOTHING, Began, Checkpoint, Event, Memory, Problem, Round, Warned, pack, unpack
from pruning.stages.rounds import ENDING, LOWERED, Training

WARM_UP = 0.03  # share of the steps in which the learning rate rises
MARGIN = 2e-3  # of its score, by which the start must be better than an epoch: it may remember validation examples


@dataclass(frozen=True)
class Retraining:
    """Epochs after a hard prune. ending: how ADMM ended, kept in checkpoints for the report."""

    problem: Problem
    settings: Retrain
    training: Training
    ending: Mapping[str, float]
    stage: int = 0
    told: Mapping[str, float] = field(default_factory=dict)
    memory: Memory = NOTHING

    def run(self, resume: Checkpoint | None) -> Generator[Event, None, float]:
        """Returns the score of the network, which is that of the best epoch; among equals the latest.

        The network as it was at the start is taken only where it is clearly better than every epoch.

        Raises: Diverged: it diverged once more after the learning rate was lowered.
        """
        problem, lowered = self.problem, 1.0
        self.training.begin()
        if resume is not None:
            self.training.load(resume)
            lowered, best = resume.numbers["lowered"], _Best.held(resume)
        else:
            best = _Best.at_start(problem.state(), problem.score())
        mean = Mean(problem.network, self.settings.average, resume)
        if resume is None or not resume.is_last:
            yield Began("retrain")
        for number in range((resume.done if resume else 0) + 1, self.settings.epochs + 1):
            put_back, mean_put_back = self.training.copied(), mean.copied()
            try:
                loss = self._epoch(number, lowered, mean)
            except Diverged:
                if lowered < 1:
                    raise
                put_back()
                mean_put_back()
                lowered = LOWERED
                yield Warned(f"epoch {number} of retraining diverged; it is done again with a tenth of the rate")
                loss = self._epoch(number, lowered, mean)
            with mean.swapped():
                accuracy = problem.measure()
                best.offer(problem, problem.objective.score(accuracy))
            values = {"loss": loss, "accuracy": accuracy, "accuracy_pruned": accuracy, **self.told}
            is_last = number == self.settings.epochs
            yield Round("retrain", number, is_last, values, _Kept(self, best, mean, number, is_last, lowered))
        problem.network.module.load_state_dict(best.state)
        return best.score

    def _epoch(self, number: int, lowered: float, mean: Mean) -> float:
        def rate(share: float) -> float:
            done = (number - 1 + share) / self.settings.epochs
            return lowered * self.settings.learning_rate * min(1, done / WARM_UP) * (1 + math.cos(math.pi * done)) / 2

        def after_step() -> None:
            self.training.after_step()
            mean.update()

        trainer, objective = self.training.trainer, self.problem.objective
        if objective.distill.fades:
            trainer.objective = objective.taught_less(min(1, 2 * (1 - (number - 1) / max(1, self.settings.epochs - 1))))
        loss = replace(self.training, after_step=after_step).steps(self.problem.train.steps, rate)
        trainer.objective = objective
        return loss


@dataclass
class _Best:
    """The best so far. margin: what another may score less and still take its place."""

    state: Mapping[str, Tensor]
    score: float
    margin: float

    @classmethod
    def at_start(cls, state: Mapping[str, Tensor], score: float) -> "_Best":
        return cls(state, score, MARGIN * abs(score))

    @classmethod
    def held(cls, resume: Checkpoint) -> "_Best":
        return cls(unpack(resume.tensors, "best"), resume.numbers["best"], resume.numbers.get("margin", 0.0))

    def offer(self, problem: Problem, score: float) -> None:
        if score >= self.score - self.margin:
            self.state, self.score, self.margin = problem.state(), score, 0.0


@dataclass(frozen=True)
class _Kept:
    retraining: Retraining
    best: _Best
    mean: Mean
    done: int
    is_last: bool
    lowered: float

    def __call__(self) -> Checkpoint:
        own = self.retraining
        tensors = pack({**own.training.kept(), "best": self.best.state, "mean": self.mean.held, **own.memory.tensors})
        numbers = {k: own.ending[k] for k in ENDING} | {
            "best": self.best.score,
            "margin": self.best.margin,
            "lowered": self.lowered,
            "averaged": self.mean.count,
        }
        numbers |= {**own.memory.numbers, "step": own.training.trainer.step}
        return Checkpoint("retrain", self.done, self.is_last, tensors, numbers, own.stage)
