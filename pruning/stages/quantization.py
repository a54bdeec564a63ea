"""After pruning: ADMM towards few levels in each layer, then their steps and the biases are trained.

Source: Ye et al. 2018, "Progressive weight pruning", 4.3 and table 6.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning.onnx import batchnorm
from pruning.quantize import bits_of, project, squared_error
from pruning.settings import Quantize
from pruning.stages.problem import Checkpoint, Events, Memory, Problem, unpack
from pruning.stages.retraining import Retraining
from pruning.stages.rounds import ENDING, Rounds, Training
from pruning.stages.stage import frozen_zeros, measured

AFTER_ALL = -1  # its number of a stage


def quantization(problem: Problem, settings: Quantize, resume: Checkpoint | None) -> Events:
    """BatchNormalization that was put back is folded first. Raises: Diverged, InvalidPlan."""
    batchnorm.fold(problem.network)
    if resume is not None:
        problem.network.module.load_state_dict(unpack(resume.tensors, "network"))
    levels = _levels(problem, settings, resume)
    if resume is not None and resume.phase == "retrain":
        ending: Mapping[str, float] = {k: resume.numbers[k] for k in ENDING}
    else:
        W = problem.network.W()
        rho = dict.fromkeys(W, settings.admm.rho)
        rounds = Rounds(
            problem,
            settings.admm,
            frozen_zeros(problem),
            W,
            levels.project,
            rho,
            lambda: measured(problem, levels.project),
            phase="quantize",
            stage=AFTER_ALL,
            memory=levels.memory,
        )
        ending = yield from rounds.run(resume)
        problem.network.set_W(levels.project({k: w.detach() for k, w in W.items()}))
        resume = None
    training = steps_trained(problem, levels)
    yield from Retraining(problem, settings.retrain, training, ending, AFTER_ALL, memory=levels.memory).run(resume)


@dataclass(frozen=True)
class _Levels:
    """The set of every layer: its mask is what is not zero when it is made."""

    problem: Problem
    masks: Mapping[str, Tensor]
    bits: Mapping[str, int]

    @property
    def memory(self) -> Memory:
        """Bits are settled once, by the weights at the start."""
        return Memory(numbers={f"bits.{k}": bits for k, bits in self.bits.items()})

    @torch.no_grad()
    def project(self, V: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: project(V[k], mask, self.bits[k]).Z for k, mask in self.masks.items()}


def _levels(problem: Problem, settings: Quantize, resume: Checkpoint | None) -> _Levels:
    """What each layer may hold, by its weights as they are when pruning has ended."""
    layers, masks = tuple(problem.network.layers.values()), problem.masks()
    if resume is not None:
        return _Levels(problem, masks, {k: int(resume.numbers[f"bits.{k}"]) for k in masks})
    W = {k: w.detach() for k, w in problem.network.W().items()}
    kept = {k: int(mask.sum()) for k, mask in masks.items()}
    return _Levels(problem, masks, bits_of(settings, layers, kept, lambda k, b: squared_error(W[k], masks[k], b)))


def steps_trained(problem: Problem, levels: _Levels) -> Training:
    """Training of log q in the place of each layer's weights q k, whose whole numbers k stay.

    Its gradient is that of the weights along the weights. Weights must be on their levels.
    """
    W, names = problem.network.W(), problem.network.weights
    found = {k: project(w.detach(), levels.masks[k], levels.bits[k]) for k, w in W.items()}
    steps = {k: nn.Parameter(w.new_tensor(math.log(found[k].q))) for k, w in W.items()}
    whole = {k: (found[k].Z / found[k].q).round() for k in W}
    frozen = frozen_zeros(problem)

    def on_gradient() -> None:
        for k, w in W.items():
            steps[k].grad = None if w.grad is None else (w.grad * w.detach()).sum()

    @torch.no_grad()
    def after_step() -> None:
        for k, w in W.items():
            w.copy_(steps[k].exp() * whole[k])

    replaced = {names[k]: (step,) for k, step in steps.items()}
    return Training(problem.trainer, on_gradient, frozen.freeze, after_step, replaced)
