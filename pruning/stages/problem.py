"""What every method is given and what it yields."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from onnx import ModelProto
from torch import Tensor, nn

from pruning.batches import Batches
from pruning.budgets import settle
from pruning.objective import Objective
from pruning.onnx.network import Network
from pruning.onnx.useful import useful_weights
from pruning.plan import Budget, Plan
from pruning.processes import Group
from pruning.sets import Sets
from pruning.sparsity.form import Form
from pruning.train import Trainer

Frozen = tuple[nn.Parameter, Tensor]
TINY = 1e-20  # no weight counts nothing
Phase = Literal["admm", "prune", "retrain", "quantize"]


@dataclass(frozen=True)
class Problem:
    """A model as a network, its data and the plan, on one device.

    floor: least score that a search may end at; None where the budget is not a search. over: size of the file with the
    weights as they are / size asked for; 0 where the budget names none.
    """

    model: ModelProto
    network: Network
    train: Batches
    val: Batches
    plan: Plan
    objective: Objective
    trainer: Trainer
    floor: float | None = None
    over: Callable[[], float] = lambda: 0.0

    @property
    def group(self) -> Group:
        """The processes that train this."""
        return self.train.group

    def importance(self) -> dict[str, Tensor] | None:
        """What weights are multiplied by before they are compared, by layer; None: by nothing."""
        if self.plan.importance == "magnitude":
            return None
        return {k: (square + TINY).sqrt() for k, square in self.trainer.watched().items()}

    def sets(self, budget: Budget) -> Sets:
        """What the plan allows each layer under another budget than its own."""
        plan = self.plan.model_copy(update={"budget": budget})
        return Sets.of(settle(plan, tuple(self.network.layers.values())))

    def measure(self) -> float:
        """The metric of the network as it is, on the validation split."""
        return self.objective.measure(self.network, self.val)

    def score(self) -> float:
        """The same as a number of which more is better."""
        return self.objective.score(self.measure())

    def steps_of(self, epochs: float) -> int:
        """Training steps in so many epochs."""
        return max(1, round(epochs * self.train.steps))

    def state(self) -> dict[str, Tensor]:
        """A copy of all that the network holds."""
        return {k: v.clone() for k, v in self.network.module.state_dict().items()}

    def masks(self) -> dict[str, Tensor]:
        """Where the weights are not zero, by layer."""
        return {k: w.detach() != 0 for k, w in self.network.W().items()}

    def useful(self) -> dict[str, Tensor]:
        """Where a weight could change an output, for the zeros that there are; False where it is surely idle."""
        return useful_weights(self.model, self.network)

    def rate(self) -> float:
        """Weights / weights that are not zero, now."""
        W = self.network.W().values()
        return self.group.agreed(sum(w.numel() for w in W) / max(1, sum(int((w != 0).sum()) for w in W)))

    def connected(self) -> set[str]:
        """Layers of which at least one weight could change an output."""
        W = self.network.W()
        return self.group.agreed({k for k, mask in self.useful().items() if bool((mask & (W[k] != 0)).any())})

    @torch.no_grad()
    def bury(self, masks: Mapping[str, Tensor]) -> list[Frozen]:
        """Filters and neurons without weights give exactly 0 from now on, so that they can be removed.

        Their biases go to 0, and the mean and bias of a BatchNorm behind them; returns those parameters, and where they
        may be trained.
        """
        biases, norms = self.network.b(), self.network.norms()
        frozen = []
        for k, layer in self.network.layers.items():
            alive = Form.of(layer).matrices(masks[k]).flatten(2).any(2).flatten()
            shifts = [biases.get(k), norms[k].bias] if k in norms else [biases.get(k)]
            for shift in (s for s in shifts if isinstance(s, nn.Parameter)):
                shift.mul_(alive.reshape(shift.shape))
                frozen.append((shift, alive.reshape(shift.shape)))
            if k in norms and isinstance(mean := norms[k].running_mean, Tensor):
                mean.mul_(alive)
        return frozen


@dataclass(frozen=True)
class Checkpoint:
    """All that a method needs to go on elsewhere, after `done` rounds of a phase of a stage, counted from 0.

    numbers: step (training steps so far); seconds, shown (rounds told to the listener) and progress, which are set
    where it is followed; and of the last ADMM round primal, dual, relative and rounds (its number). history: all
    rounds so far, as the report has them; set where it is followed.
    """

    phase: Phase
    done: int
    is_last: bool
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, float]
    stage: int = 0
    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Began:
    """Rounds of this phase follow."""

    phase: Phase


@dataclass(frozen=True)
class Warned:
    """Something that the user should know went another way than planned."""

    text: str


@dataclass(frozen=True)
class Trial:
    """A rate that was reached, and the score that it has on the validation split; asked: the rate that was wanted."""

    rate: float
    score: float
    asked: float


@dataclass(frozen=True)
class Searched:
    """A search has ended: all that it tried, and the score that was enough."""

    trials: Sequence[Trial]
    floor: float


@dataclass(frozen=True)
class Round:
    """A round that has ended; is_last: no other of its phase and stage follows.

    values: loss, accuracy (of W, by the objective's metric), accuracy_pruned (of its projection), primal, dual,
    relative, rho, pruning_rate (of the stage): those that apply.
    checkpoint: made only when it is called for.
    """

    phase: Phase
    number: int
    is_last: bool
    values: Mapping[str, float]
    checkpoint: Callable[[], Checkpoint] = field(repr=False)


Event = Began | Warned | Searched | Round
Events = Generator[Event, None, None]


@dataclass(frozen=True)
class Memory:
    """What a method keeps beside its present stage; goes into every checkpoint."""

    tensors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


NOTHING = Memory()


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
