"""A rate that rises while training: masks are re-made often, of units first and then of single weights.

Source: Zhu & Gupta 2017, "To prune, or not to prune" (masks along a rising schedule).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pruning.allocations import of_the_largest
from pruning.errors import Diverged
from pruning.plan import Plan
from pruning.settings import Gradual
from pruning.sparsity.filter import Filter
from pruning.sparsity.form import Form
from pruning.stages.problem import Began, Checkpoint, Event, Events, Frozen, Problem, Round, Warned, pack, unpack
from pruning.stages.retraining import Retraining
from pruning.stages.rounds import LOWERED, Training
from pruning.stages.stage import CUT, frozen_by, frozen_zeros, to_size
from pruning.train import mask_gradients

WARM_UP = 0.5  # epochs in which the learning rate rises
EASE = 1.5  # how much faster the rate rises at first than at last
NO_ROUNDS = {"primal": 0.0, "dual": 0.0, "relative": 0.0, "rounds": 0}


def gradual(problem: Problem, resume: Checkpoint | None = None) -> Events:
    """Units go, then weights, an epoch a round; then masked retraining. Raises: Diverged, twice."""
    settings = problem.plan.gradual
    if resume is not None:  # what is zero in it is asked before training is loaded
        problem.network.module.load_state_dict(unpack(resume.tensors, "network"))
    if resume is None or resume.phase == "prune":
        yield from Rising(problem, settings).run(resume)
        to_size(problem, problem.plan.budget)
        resume = None
    yield from Retraining(
        problem, problem.plan.retrain, frozen_zeros(problem), NO_ROUNDS, told={"pruning_rate": problem.plan.budget.rate}
    ).run(resume)


@dataclass
class Rising:
    """The epochs in which masks are re-made.

    masks: where weights may be, by layer; frozen: with those of biases. lowered: factor on the learning rate.
    stopped: whether the rate rises no more, since it would cut the net in two.
    """

    problem: Problem
    settings: Gradual
    masks: dict[str, Tensor] = field(init=False)
    frozen: list[Frozen] = field(init=False)
    lowered: float = field(init=False, default=1.0)
    stopped: bool = field(init=False, default=False)

    def run(self, resume: Checkpoint | None) -> Generator[Event, None, None]:
        """Raises: Diverged: it diverged once more after the learning rate was lowered."""
        problem = self.problem
        self.masks = problem.masks()
        before = problem.connected()
        self.frozen = frozen_by(problem, self.masks)
        training = Training(problem.trainer, freeze=self._freeze, after_step=self._after_step)
        training.begin()
        if resume is not None:
            training.load(resume)
            self.lowered, self.stopped = resume.numbers["lowered"], bool(resume.numbers["stopped"])
        yield Began("prune")
        first, last = (resume.done if resume else 0) + 1, rounds(problem.plan)
        for number in range(first, last + 1):
            put_back, masks = training.copied(), (self.masks, self.frozen)
            try:
                loss = self._epoch(training, number)
            except Diverged:
                if self.lowered < 1:
                    raise
                put_back()
                (self.masks, self.frozen), self.lowered = masks, LOWERED
                yield Warned(f"epoch {number} diverged; it is done again with a tenth of the learning rate")
                loss = self._epoch(training, number)
            if not before <= problem.connected():
                put_back()
                (self.masks, self.frozen), self.stopped = masks, True
                yield Warned(CUT.format(problem.plan.budget.rate, f"the rate stays at {problem.rate():.4g}x"))
                loss = self._epoch(training, number)
            accuracy, rate = problem.measure(), problem.rate()
            values = {"loss": loss, "accuracy": accuracy, "accuracy_pruned": accuracy, "pruning_rate": rate}
            yield Round("prune", number, number == last, values, self._kept(training, number, number == last))

    def _epoch(self, training: Training, number: int) -> float:
        steps = self.problem.train.steps
        self._at = (number - 1) * steps
        rate = self.settings.learning_rate * self.lowered
        return training.steps(steps, lambda share: rate * min(1, (number - 1 + share) / WARM_UP))

    def _freeze(self) -> None:
        mask_gradients(self.frozen)

    def _after_step(self) -> None:
        self._at += 1
        every = max(1, self.problem.train.steps // self.settings.masks_per_epoch)
        if self._at % every == 0 or self._at % self.problem.train.steps == 0:
            self._make(self._at / self.problem.train.steps)

    @torch.no_grad()
    def _make(self, epochs: float) -> None:
        """Masks for so many epochs done: of those that are, some go."""
        problem, settings, units = self.problem, self.settings, unit_epochs(self.settings)
        if self.stopped:
            return
        if epochs <= units:
            self.masks = self._fewer_units(1 - (1 - settings.units) * _eased(epochs / units))
        else:
            goal, low = problem.plan.budget.rate, min(settings.first_rate, problem.plan.budget.rate)
            rate = low * (goal / low) ** _eased((epochs - units) / (rounds(problem.plan) - units))
            budget = problem.plan.budget if rate >= goal else problem.plan.budget.at(rate)
            useful = problem.useful() if epochs == round(epochs) else self.masks
            W = {k: w.detach() * useful[k] for k, w in problem.network.W().items()}
            Z = problem.sets(budget).project(W, problem.importance())
            self.masks = {k: z != 0 for k, z in Z.items()}
        W = problem.network.W()
        problem.network.set_W({k: W[k].masked_fill(~mask, 0.0) for k, mask in self.masks.items()})
        self.frozen = frozen_by(problem, self.masks)
        self.problem.trainer.forget(self.frozen)

    def _fewer_units(self, share: float) -> dict[str, Tensor]:
        """Masks with so many units left; those that are, where the weights would be fewer than the budget lets stay."""
        problem, alive = self.problem, units_that_stay(self.problem, share)
        masks = {k: mask & alive[k] if k in alive else mask for k, mask in self.masks.items()}
        state = problem.state()
        problem.network.set_W({k: w.masked_fill(~masks[k], 0.0) for k, w in problem.network.W().items()})
        problem.bury(masks)
        useful = problem.useful()
        left = sum(int((mask & useful[k]).sum()) for k, mask in masks.items())
        problem.network.module.load_state_dict(state)
        enough = left * problem.plan.budget.rate >= sum(mask.numel() for mask in masks.values())
        return masks if enough else self.masks

    def _kept(self, training: Training, number: int, is_last: bool) -> Callable[[], Checkpoint]:
        def kept() -> Checkpoint:
            numbers = {**NO_ROUNDS, "step": training.trainer.step, "lowered": self.lowered, "stopped": self.stopped}
            return Checkpoint("prune", number, is_last, pack(training.kept()), numbers)

        return kept


def unit_epochs(settings: Gradual) -> int:
    """Epochs in which units go."""
    return 0 if settings.units == 1 else settings.unit_epochs


def rounds(plan: Plan) -> int:
    """Epochs in which the rate rises."""
    return unit_epochs(plan.gradual) + plan.gradual.epochs


def units_that_stay(problem: Problem, share: float) -> dict[str, Tensor]:
    """Masks of the layers whose filters or neurons can go, by one ranking over all of them; each layer keeps one."""
    network, importance = problem.network, problem.importance() or {}
    forms = {k: Form.of(layer) for k, layer in network.layers.items() if layer.readers}
    M = {k: form.matrices(network.W()[k].detach() * importance.get(k, 1.0)) for k, form in forms.items()}
    scores = {k: Filter().scores(m) for k, m in M.items()}
    if not scores:
        return {}
    kept = of_the_largest(scores, int(share * sum(s.numel() for s in scores.values())))
    Z = {k: Filter().project(m, kept[k]) for k, m in M.items()}
    alive = {k: z.flatten(2).any(2)[:, :, None, None].expand_as(z) for k, z in Z.items()}
    return {k: form.restored(alive[k]) for k, form in forms.items()}


def _eased(share: float) -> float:
    return 1 - (1 - min(share, 1.0)) ** EASE
