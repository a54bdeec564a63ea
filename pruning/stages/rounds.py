"""ADMM rounds on any variables: the W-step, the update of Z and U, what to tell, what to keep.

Source: Zhang et al. 2018, "A systematic DNN weight pruning framework using ADMM"; Ye et al. 2018, 2.2.
"""

import copy
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pruning import admm
from pruning.errors import Diverged
from pruning.settings import Admm
from pruning.stages.problem import (
    NOTHING,
    Began,
    Checkpoint,
    Event,
    Memory,
    Phase,
    Problem,
    Round,
    Warned,
    pack,
    unpack,
)
from pruning.train import Hook, Trainer, nothing

LOWERED = 0.1  # what a learning rate becomes after a divergence
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
}
ENDING = ("primal", "dual", "relative", "rounds")
Replaced = Mapping[str, tuple[nn.Parameter, ...]]


@dataclass(frozen=True)
class Training:
    """What a phase trains, and how its steps differ from plain ones.

    on_gradient: before the penalty, freeze: after it, after_step: behind the optimizer. replaced: variables in the
    place of some of the network's parameters, by the parameters' names; scale: of the learning rate of all but the
    first of each.
    """

    trainer: Trainer
    on_gradient: Hook = nothing
    freeze: Hook = nothing
    after_step: Hook = nothing
    replaced: Replaced = field(default_factory=dict)
    scale: float = 1.0

    def begin(self) -> None:
        """A new optimizer."""
        self.trainer.begin(self.replaced, self.scale)

    def steps(self, count: int, rate: Callable[[float], float], penalty: Hook = nothing) -> float:
        """As Trainer.train."""

        def on_gradient() -> None:
            self.on_gradient()
            penalty()
            self.freeze()

        return self.trainer.train(count, rate, on_gradient, self.after_step)

    def kept(self) -> dict[str, Mapping[str, Any]]:
        """The network, the variables in place of its parameters, and the optimizer's memory by parameter number."""
        moments = {
            f"{i}.{name}": value
            for i, entry in self.trainer.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        network = self.trainer.network.module.state_dict()
        squares = self.trainer.squares or {}
        return {"network": network, "optimizer": moments, "replaced": self._variables(), "squares": squares}

    @torch.no_grad()
    def load(self, resume: Checkpoint) -> None:
        """What kept gave, out of a checkpoint."""
        trainer = self.trainer
        trainer.network.module.load_state_dict(unpack(resume.tensors, "network"))
        held = unpack(resume.tensors, "replaced")
        for name, variable in self._variables().items():
            variable.copy_(held[name])
        state: dict[int, dict[str, Any]] = {}
        for key, value in unpack(resume.tensors, "optimizer").items():
            i, _, name = key.partition(".")
            state.setdefault(int(i), {})[name] = value
        trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": state})
        trainer.step = int(resume.numbers["step"])
        like = next(trainer.network.module.parameters())
        trainer.squares = unpack(resume.tensors, "squares", like) or None

    def copied(self) -> Callable[[], None]:
        """A copy of all that training changes; calling it puts everything back."""
        trainer = self.trainer
        states = copy.deepcopy((trainer.network.module.state_dict(), trainer.optimizer.state_dict()))
        variables = {k: v.detach().clone() for k, v in self._variables().items()}
        squares = None if trainer.squares is None else {k: v.clone() for k, v in trainer.squares.items()}

        @torch.no_grad()
        def put_back() -> None:
            trainer.network.module.load_state_dict(states[0])
            trainer.optimizer.load_state_dict(states[1])
            for name, variable in self._variables().items():
                variable.copy_(variables[name])
            trainer.squares = squares

        return put_back

    def _variables(self) -> dict[str, nn.Parameter]:
        return {f"{name}.{i}": p for name, held in self.replaced.items() for i, p in enumerate(held)}


@dataclass(frozen=True)
class Rounds:
    """ADMM rounds of one stage.

    variables: what is to end in the set that `project` projects on. measured: accuracy of W and of its projection.
    told: values that are shown with each round.
    """

    problem: Problem
    settings: Admm
    training: Training
    variables: Mapping[str, nn.Parameter]
    project: admm.Projection
    rho: Mapping[str, float]
    measured: Callable[[], Mapping[str, float]]
    phase: Phase = "admm"
    stage: int = 0
    told: Mapping[str, float] = field(default_factory=dict)
    memory: Memory = NOTHING

    def run(self, resume: Checkpoint | None) -> Generator[Event, None, Mapping[str, float]]:
        """Returns the numbers named in ENDING.

        Raises: Diverged: it diverged once more after the learning rate was lowered.
        """
        self.training.begin()
        state, course = self._started(resume)
        if resume is not None and resume.is_last:
            return {k: course[k] for k in ENDING}
        yield Began(self.phase)
        for number in range(int(course["rounds"]) + 1, self.settings.rounds + 1):
            put_back = self.training.copied()
            try:
                done = self._round(state, course)
            except Diverged:
                if course["lowered"] < 1:
                    raise
                put_back()
                course = {**course, "lowered": LOWERED}
                yield Warned(f"round {number} diverged; it is done again with a tenth of the learning rate")
                done = self._round(state, course)
            residuals, told = done.residuals, {"loss": done.loss, "rho": max(state.rho.values()), **self.told}
            values = {**self.measured(), **vars(residuals), **told}
            course = {**course, "first": course.get("first", residuals.primal), "rounds": number, **vars(residuals)}
            state, is_last = done.state, done.converged or number == self.settings.rounds
            yield Round(self.phase, number, is_last, values, _Kept(self, state, is_last, course))
            if is_last:
                break
        return {k: course[k] for k in ENDING}

    def _started(self, resume: Checkpoint | None) -> tuple[admm.State, dict[str, float]]:
        if resume is None:
            return admm.init(self.variables, self.project, self.rho), {"rounds": 0, "lowered": 1.0}
        self.training.load(resume)
        like, held = next(iter(self.variables.values())), resume.tensors
        rho = {k: float(v) for k, v in unpack(held, "rho").items()}
        free = frozenset(k for k, v in unpack(held, "free").items() if v)
        return admm.State(unpack(held, "Z", like), unpack(held, "U", like), rho, free), dict(resume.numbers)

    def _round(self, state: admm.State, course: Mapping[str, float]) -> "_Done":
        settings, schedule = self.settings, SCHEDULES[self.settings.schedule]
        rate = settings.learning_rate * course["lowered"]

        def at(share: float) -> float:
            return rate * schedule((course["rounds"] + share) / settings.rounds)

        steps = self.problem.steps_of(settings.epochs_per_round)
        loss = self.training.steps(steps, at, lambda: admm.add_penalty_gradient(state, self.variables))
        following, residuals = admm.step(state, self.variables, self.project)
        residuals = self.problem.group.agreed(residuals)
        converged = admm.has_converged(residuals, course.get("first", residuals.primal))
        following = admm.grow(following, settings.rho_growth)
        following = admm.rebalance(following, residuals) if settings.balance else following
        return _Done(loss, following, residuals, converged)


@dataclass(frozen=True)
class _Done:
    loss: float
    state: admm.State
    residuals: admm.Residuals
    converged: bool


@dataclass(frozen=True)
class _Kept:
    rounds: Rounds
    state: admm.State
    is_last: bool
    course: Mapping[str, float]

    def __call__(self) -> Checkpoint:
        rounds, state = self.rounds, self.state
        rho = {k: torch.tensor(v, dtype=torch.float64) for k, v in state.rho.items()}
        free = {k: torch.tensor(k in state.free) for k in state.rho}
        own = {**rounds.training.kept(), "Z": state.Z, "U": state.U, "rho": rho, "free": free}
        tensors = pack({**own, **rounds.memory.tensors})
        numbers = {**self.course, **rounds.memory.numbers, "step": rounds.training.trainer.step}
        return Checkpoint(rounds.phase, int(self.course["rounds"]), self.is_last, tensors, numbers, rounds.stage)
