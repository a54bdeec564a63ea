"""What every method is given and what it yields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from pruning.batches import Batches
from pruning.budgets import Allowance
from pruning.objective import Objective
from pruning.onnx.network import Network
from pruning.plan import Plan
from pruning.sparsity.unstructured import Unstructured


@dataclass(frozen=True)
class Problem:
    """A network, its data and the budget, on one device. tick(step) is called after every training step."""

    network: Network
    train: Batches
    val: Batches
    plan: Plan
    allowance: Allowance
    objective: Objective
    tick: Callable[[int], None]

    @torch.no_grad()
    def project(self, V: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The nearest point to V that keeps the budget; V and the result have the shapes of the weights.

        Raises: Diverged: V holds a NaN.
        """
        pattern: Unstructured = self.plan.pattern
        kept = self.allowance.allocate(V)
        return {k: pattern.project(V[k], kept[k]) for k in V}

    def measure(self) -> float:
        """The metric of the network as it is, on the validation split."""
        return self.objective.measure(self.network, self.val)

    @property
    def steps_per_round(self) -> int:
        """Training steps in one W-step."""
        return max(1, round(self.plan.admm.epochs_per_round * self.train.steps))

    @property
    def total_steps(self) -> int:
        """Training steps in the whole job."""
        return self.plan.admm.rounds * self.steps_per_round + self.plan.retrain.epochs * self.train.steps


@dataclass(frozen=True)
class Checkpoint:
    """All that a method needs to go on elsewhere, after `done` rounds of a phase.

    numbers: step (training steps so far), seconds (of the job so far, set by the pipeline), and of the last ADMM
    round primal, dual, relative and rounds (its number).
    """

    phase: Literal["admm", "retrain"]
    done: int
    is_last: bool
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Round:
    """A round that has ended; is_last: no other of its phase follows.

    values: loss, accuracy (of W, by the objective's metric), accuracy_pruned (of its projection), primal, dual,
    relative, rho: those that apply.
    checkpoint: made only when it is called for.
    """

    phase: Literal["admm", "retrain"]
    number: int
    is_last: bool
    values: Mapping[str, float]
    checkpoint: Callable[[], Checkpoint] = field(repr=False)


def pack(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """One flat table of tensors on the CPU, keys `group/name`."""
    return {
        f"{group}/{k}": torch.as_tensor(v).detach().cpu().clone().contiguous()
        for group, tensors in groups.items()
        for k, v in tensors.items()
    }


def unpack(tensors: Mapping[str, Tensor], group: str, like: Tensor | None = None) -> dict[str, Tensor]:
    """One group of a packed table, on the device of `like`."""
    device = like.device if like is not None else None
    return {k.removeprefix(f"{group}/"): v.to(device) for k, v in tensors.items() if k.startswith(f"{group}/")}
