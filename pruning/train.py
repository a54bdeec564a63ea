"""Training steps: the W-step of ADMM and masked retraining are this loop with different hooks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pruning.batches import Batches
from pruning.errors import Diverged
from pruning.objective import Objective
from pruning.onnx.batchnorm import together
from pruning.onnx.network import Network
from pruning.settings import Train

STEPS_BETWEEN_LOOKS = 50  # at whether the loss is finite: each waits for the device
MOMENTUM = 0.9
MEMORY, BATCHES_FIRST = 0.999, 20  # of squared gradients: decay, and how they begin
Hook = Callable[[], None]


def nothing() -> None:
    """The hook that does nothing."""


@dataclass
class Trainer:
    """A network, its data and an optimizer; `step` counts the training steps since the job began.

    squares: running means of the squared gradients of the loss by layer, from when they are asked for. learner: the
    network as it is called to train, by all processes that share a batch.
    """

    network: Network
    batches: Batches
    objective: Objective
    settings: Train
    tick: Callable[[int], None]
    step: int = 0
    optimizer: torch.optim.Optimizer = field(init=False)
    squares: dict[str, Tensor] | None = None
    learner: Network = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self, replaced: Mapping[str, Iterable[nn.Parameter]] | None = None, scale: float = 1.0) -> None:
        """A new optimizer, without memory of what was before.

        Args: replaced: what is trained instead of some of the network's parameters, by their names;
        scale: of the learning rate of what is in their place beyond the first of each.
        """
        replaced = {k: list(v) for k, v in (replaced or {}).items()}
        own = [p for k, p in self.network.module.named_parameters() if k not in replaced]
        first = [v[0] for v in replaced.values()]
        more = [p for v in replaced.values() for p in v[1:]]
        decay = self.settings.weight_decay
        decayed, others = [p for p in own + first if p.dim() > 1], [p for p in own + first if p.dim() <= 1]
        groups = [
            {"params": decayed, "weight_decay": decay, "scale": 1.0},
            {"params": others, "weight_decay": 0.0, "scale": 1.0},
            {"params": more, "weight_decay": 0.0, "scale": scale},
        ]
        self.optimizer = _optimizer(self.settings, [group for group in groups if group["params"]])
        self.learner = together(self.network, self.batches.group)

    def forget(self, frozen: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
        """Moments to 0 where masks are False, lest the optimizer moves on by itself what was pruned just now."""
        for parameter, mask in frozen:
            for moment in self.optimizer.state[parameter].values():
                if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                    moment.mul_(mask)

    def train(self, steps: int, rate: Callable[[float], float], on_gradient: Hook, after_step: Hook = nothing) -> float:
        """Train on, all processes from the first's weights; returns the mean loss.

        Args: rate: learning rate by the share of these steps that is done, 0 to 1;
        on_gradient: called between the backward pass and the optimizer.
        Raises: Diverged: the loss is not finite; what tick raises.
        """
        total, group = torch.zeros((), device=self.batches.device), self.batches.group
        group.align(self.network.module.state_dict().values())
        self.network.module.train()
        for i in range(steps):
            for each in self.optimizer.param_groups:
                each["lr"] = rate(i / steps) * each["scale"]
            total += self._one(on_gradient)
            after_step()
            self.step += 1
            self.tick(self.step)
            if i % STEPS_BETWEEN_LOOKS == STEPS_BETWEEN_LOOKS - 1 or i == steps - 1:
                _check(group.sum(total))
        return float(group.sum(total)) / group.size / steps

    def _one(self, on_gradient: Hook) -> Tensor:
        loss = self._loss(self.step)
        self.network.module.zero_grad(set_to_none=True)
        self.optimizer.zero_grad(set_to_none=True)  # what it trains may stand beside the network
        loss.backward()
        self._note()
        on_gradient()
        self.optimizer.step()
        return loss.detach()

    def _loss(self, step: int) -> Tensor:
        """Of this process's part of a batch; the mean over the processes is that of the batch."""
        loss, weight = self.objective.loss(self.learner, *self.batches.at(step)), self.batches.weight
        return loss if weight == 1 else loss * weight

    def watched(self) -> Mapping[str, Tensor]:
        """Mean squared gradients by layer, running from now on; at first of a few batches on which nothing changes."""
        if self.squares is None:
            self._begin_to_watch()
        return self.squares or {}

    def _begin_to_watch(self) -> None:
        self.squares = {k: torch.zeros_like(w) for k, w in self.network.W().items()}
        was_training = self.network.module.training
        self.network.module.eval()
        for i in range(min(BATCHES_FIRST, self.batches.steps)):
            self.network.module.zero_grad(set_to_none=True)
            with torch.enable_grad():
                self._loss(self.step + i).backward()
            self._note(1 / (i + 1))
        self.network.module.zero_grad(set_to_none=True)
        self.network.module.train(was_training)

    @torch.no_grad()
    def _note(self, weight: float = 1 - MEMORY) -> None:
        W = self.network.W() if self.squares is not None else {}
        for k, square in (self.squares or {}).items():
            gradient = W[k].grad
            if gradient is not None:
                square.lerp_(gradient.square(), weight)


def mask_gradients(frozen: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
    """Zero the gradients where masks are False; with moments at 0 the optimizer leaves what is 0 exactly at 0."""
    for parameter, mask in frozen:
        if parameter.grad is not None:
            parameter.grad.mul_(mask)


def _check(total: Tensor) -> None:
    if not bool(total.isfinite()):
        raise Diverged


def _optimizer(settings: Train, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=1e-3, momentum=MOMENTUM, nesterov=True)
    kind = torch.optim.AdamW if settings.weight_decay else torch.optim.Adam
    return kind(groups, lr=1e-3)
