"""Direct ADMM pruning, then masked retraining.

Source: Zhang et al. 2018, "A systematic DNN weight pruning framework using ADMM"; Ye et al. 2018, 2.2 and 2.3.
"""

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pruning import admm
from pruning.methods.problem import Checkpoint, Problem, Round, pack, unpack
from pruning.onnx.batchnorm import clear_dead
from pruning.train import Trainer, mask_gradients

ENDING = ("primal", "dual", "relative", "rounds")


def direct(problem: Problem, resume: Checkpoint | None = None) -> Iterator[Round]:
    """ADMM rounds, a hard prune, retraining epochs; the network ends as the best epoch on the validation split.

    Raises: Diverged: W, U or the loss stopped being finite, or the residual grew.
    """
    trainer = _trainer(problem, problem.plan.admm.learning_rate)
    if resume is not None and resume.phase == "retrain":
        ending = {k: resume.numbers[k] for k in ENDING}
    else:
        ending = yield from _admm_rounds(problem, trainer, resume)
        _hard_prune(problem)
        trainer = _trainer(problem, problem.plan.retrain.learning_rate, trainer.step)
        resume = None
    yield from _retraining(problem, trainer, ending, resume)


def _admm_rounds(
    problem: Problem, trainer: Trainer, resume: Checkpoint | None
) -> Generator[Round, None, Mapping[str, float]]:
    """Returns the numbers named in ENDING."""
    settings, W = problem.plan.admm, problem.network.W()
    if resume is None:
        state, done, course = admm.init(W, problem.project, settings.rho), 0, {}
    else:
        state, done, course = _resumed(trainer, resume), resume.done, dict(resume.numbers)
    rounds = done if resume is not None and resume.is_last else settings.rounds
    for number in range(done + 1, rounds + 1):
        loss = trainer.train(
            problem.steps_per_round,
            lambda _: settings.learning_rate,
            lambda s=state: admm.add_penalty_gradient(s, W),
        )
        state, residuals = admm.step(state, W, problem.project)
        values = _measured(problem) | vars(residuals) | {"loss": loss, "rho": state.rho}
        course = {"first": course.get("first", residuals.primal), "rounds": number, **vars(residuals)}
        is_last = admm.has_converged(residuals, course["first"]) or number == settings.rounds
        state = admm.grow(state, settings.rho_growth)
        yield Round("admm", number, is_last, values, _AdmmCheckpoint(trainer, state, number, is_last, course))
        if is_last:
            break
    return {k: course[k] for k in ENDING}


def _measured(problem: Problem) -> dict[str, float]:
    """Validation metric of W, and what a hard prune would give now."""
    accuracy = problem.measure()
    W = {k: w.detach().clone() for k, w in problem.network.W().items()}
    _hard_prune(problem)
    pruned = problem.measure()
    problem.network.set_W(W)
    return {"accuracy": accuracy, "accuracy_pruned": pruned}


def _resumed(trainer: Trainer, resume: Checkpoint) -> admm.State:
    _load(trainer, resume)
    like = next(iter(trainer.network.W().values()))
    return admm.State(unpack(resume.tensors, "Z", like), unpack(resume.tensors, "U", like), resume.numbers["rho"])


def _retraining(
    problem: Problem, trainer: Trainer, ending: Mapping[str, float], resume: Checkpoint | None
) -> Iterator[Round]:
    settings, network = problem.plan.retrain, problem.network
    if resume is not None:
        _load(trainer, resume)
    masks = {k: w.detach() != 0 for k, w in network.W().items()}
    bias_masks = _freeze_dead_biases(problem, masks)
    score = problem.objective.score
    best = _Best(network.module.state_dict(), score(problem.measure()), resume)
    for number in range((resume.done if resume else 0) + 1, settings.epochs + 1):
        loss = trainer.train(
            problem.train.steps,
            lambda share, n=number: settings.learning_rate * _cosine((n - 1 + share) / settings.epochs),
            lambda: mask_gradients(network, masks, bias_masks),
        )
        accuracy = problem.measure()
        best.offer(network.module.state_dict(), score(accuracy))
        values = {"loss": loss, "accuracy": accuracy, "accuracy_pruned": accuracy}
        is_last = number == settings.epochs
        yield Round("retrain", number, is_last, values, _RetrainCheckpoint(trainer, best, number, is_last, ending))
    network.module.load_state_dict(best.state)


class _Best:
    """The network of the highest validation score; among equals the latest."""

    def __init__(self, state: Mapping[str, Tensor], score: float, resume: Checkpoint | None) -> None:
        self.state, self.score = {k: v.clone() for k, v in state.items()}, score
        if resume is not None:
            self.state, self.score = unpack(resume.tensors, "best"), resume.numbers["best"]

    def offer(self, state: Mapping[str, Tensor], score: float) -> None:
        if score >= self.score:
            self.state, self.score = {k: v.clone() for k, v in state.items()}, score


@dataclass(frozen=True)
class _AdmmCheckpoint:
    trainer: Trainer
    state: admm.State
    done: int
    is_last: bool
    course: Mapping[str, float]

    def __call__(self) -> Checkpoint:
        tensors = pack({**_groups(self.trainer), "Z": self.state.Z, "U": self.state.U})
        numbers = {**self.course, "step": self.trainer.step, "rho": self.state.rho}
        return Checkpoint("admm", self.done, self.is_last, tensors, numbers)


@dataclass(frozen=True)
class _RetrainCheckpoint:
    trainer: Trainer
    best: _Best
    done: int
    is_last: bool
    ending: Mapping[str, float]

    def __call__(self) -> Checkpoint:
        tensors = pack({**_groups(self.trainer), "best": self.best.state})
        numbers = {**self.ending, "step": self.trainer.step, "best": self.best.score}
        return Checkpoint("retrain", self.done, self.is_last, tensors, numbers)


def _groups(trainer: Trainer) -> dict[str, Mapping[str, Tensor]]:
    """The network, and Adam's moments and counters by the number of the parameter."""
    moments = {
        f"{i}.{name}": value
        for i, entry in trainer.optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }
    return {"network": trainer.network.module.state_dict(), "adam": moments}


def _load(trainer: Trainer, resume: Checkpoint) -> None:
    trainer.network.module.load_state_dict(unpack(resume.tensors, "network"))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in unpack(resume.tensors, "adam").items():
        i, _, name = key.partition(".")
        state.setdefault(int(i), {})[name] = value
    trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": state})
    trainer.step = int(resume.numbers["step"])


def _trainer(problem: Problem, learning_rate: float, step: int = 0) -> Trainer:
    parameters = list(problem.network.module.parameters())
    adam = torch.optim.Adam(parameters, learning_rate)
    return Trainer(problem.network, problem.train, problem.objective, adam, problem.tick, step)


def _hard_prune(problem: Problem) -> None:
    problem.network.set_W(problem.project({k: w.detach() for k, w in problem.network.W().items()}))


@torch.no_grad()
def _freeze_dead_biases(problem: Problem, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Biases of filters and neurons without weights go to 0 and stay, so that these can be removed."""
    biases = problem.network.b()
    alive = {k: masks[k].flatten(1).any(1).reshape(bias.shape) for k, bias in biases.items()}
    for k, bias in biases.items():
        bias.mul_(alive[k])
    clear_dead(problem.network, alive)
    return alive


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2
