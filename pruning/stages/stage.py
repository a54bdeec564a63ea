"""ADMM rounds towards the plan's sets at one budget, the hard prune, masked retraining: what methods are made of."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pruning.admm import Projection
from pruning.budgets import highest_rate
from pruning.plan import Budget
from pruning.sets import Sets
from pruning.stages.problem import NOTHING, Began, Checkpoint, Event, Events, Frozen, Memory, Problem, Warned, unpack
from pruning.stages.retraining import Retraining
from pruning.stages.rounds import ENDING, Rounds, Training
from pruning.train import mask_gradients

SIZINGS = 8  # at most, to come down to a size
TURNS = 3  # of giving the places of idle weights to others
LESS = 0.8  # of a rate that cut the net in two is tried next
CUT = "at {:.4g}x no path from input to output would be left: {}; allocation erk or uniform may reach further"


@dataclass(frozen=True)
class Stage:
    """From the network as it is to one that keeps a budget.

    number: of the stage in the job, from 0. memory: of the method, for checkpoints.
    """

    problem: Problem
    budget: Budget
    number: int = 0
    memory: Memory = NOTHING

    def run(self, resume: Checkpoint | None) -> Generator[Event, None, float]:
        """Returns the score of the network. Raises: Diverged."""
        problem, sets = self.problem, self.problem.sets(self.budget)
        if resume is not None:  # what is zero in it is asked before training is loaded
            problem.network.module.load_state_dict(unpack(resume.tensors, "network"))
        told = {"pruning_rate": self.budget.rate}
        if resume is not None and resume.phase == "retrain":
            ending: Mapping[str, float] = {k: resume.numbers[k] for k in ENDING}
        else:
            ending = yield from self._rounds(sets, told).run(resume)
            yield Began("prune")
            yield from self._prune(sets)
            resume = None
        training = frozen_zeros(problem)
        retraining = Retraining(problem, problem.plan.retrain, training, ending, self.number, told, self.memory)
        return (yield from retraining.run(resume))

    def _prune(self, sets: Sets) -> Events:
        """To the budget, or as near to it as leaves a path through every layer that had one."""
        problem, budget, state = self.problem, self.budget, self.problem.state()
        before = problem.connected()
        hard_prune(problem, sets)
        if budget.rate >= problem.plan.budget.rate:
            to_size(problem, budget)
        while not before <= problem.connected() and budget.rate > 1:
            problem.network.module.load_state_dict(state)
            budget = budget.at(max(1.0, LESS * budget.rate))
            hard_prune(problem, problem.sets(budget))
        if budget is not self.budget:
            yield Warned(CUT.format(self.budget.rate, f"pruned to {problem.rate():.4g}x instead"))

    def _rounds(self, sets: Sets, told: Mapping[str, float]) -> Rounds:
        problem, settings = self.problem, self.problem.plan.admm
        W = problem.network.W()

        def project(V: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return sets.project(V, problem.importance())

        training = Training(problem.trainer) if settings.regrow else frozen_zeros(problem)
        return Rounds(
            problem,
            settings,
            training,
            W,
            project,
            {k: sets.allowance.rho.get(k, settings.rho) for k in W},
            lambda: measured(problem, project),
            stage=self.number,
            told=told,
            memory=self.memory,
        )


def frozen_zeros(problem: Problem) -> Training:
    """Training in which the weights that are zero now stay so, and the biases of units that have none."""
    frozen = frozen_by(problem, problem.masks())
    return Training(problem.trainer, freeze=lambda: mask_gradients(frozen))


def frozen_by(problem: Problem, masks: Mapping[str, Tensor]) -> list[Frozen]:
    """Weights with their masks, and the biases of units that have no weights then."""
    W = problem.network.W()
    return [*((W[k], mask) for k, mask in masks.items()), *problem.bury(masks)]


@torch.no_grad()
def hard_prune(problem: Problem, sets: Sets) -> None:
    """W becomes its projection; what could change no output gives its place to other weights."""
    W = {k: w.detach().clone() for k, w in problem.network.W().items()}
    for _ in range(TURNS):
        problem.network.set_W(sets.project(W, problem.importance()))
        problem.bury(problem.masks())
        useful = {k: mask for k, mask in problem.useful().items() if k in sets.patterns}
        if all(bool(mask[W[k] != 0].all()) for k, mask in useful.items()):
            break
        W = {k: w * useful[k] if k in useful else w for k, w in W.items()}


def to_size(problem: Problem, budget: Budget) -> None:
    """Prune on until the file is as small as the plan asks for, where it names a size.

    The rate that it was turned into is that of the dense weights: training moves zeros between layers.
    """
    highest = highest_rate(problem.plan, tuple(problem.network.layers.values()))
    for _ in range(SIZINGS):
        over = problem.over()
        if over <= 1 or budget.rate >= highest:
            return
        budget = budget.at(min(budget.rate * over, highest))
        hard_prune(problem, problem.sets(budget))


def measured(problem: Problem, project: Projection) -> dict[str, float]:
    """Validation metric of W, and of its projection: what a hard prune would give now."""
    accuracy = problem.measure()
    W = {k: w.detach().clone() for k, w in problem.network.W().items()}
    problem.network.set_W(project(W))
    pruned = problem.measure()
    problem.network.set_W(W)
    return {"accuracy": accuracy, "accuracy_pruned": pruned}
