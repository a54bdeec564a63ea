"""Training steps: the W-step of ADMM and masked retraining are this loop with a different gradient hook."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning.batches import Batches
from pruning.errors import Diverged
from pruning.objective import Objective
from pruning.onnx.network import Network


@dataclass
class Trainer:
    """A network, its data and Adam; `step` counts the training steps since the job began."""

    network: Network
    batches: Batches
    objective: Objective
    optimizer: torch.optim.Adam
    tick: Callable[[int], None]
    step: int = 0

    def train(self, steps: int, rate: Callable[[float], float], on_gradient: Callable[[], None]) -> float:
        """Train on; returns the mean loss.

        Args: rate: learning rate by the share of these steps that is done, 0 to 1;
        on_gradient: called between the backward pass and Adam.
        Raises: Diverged: the loss is not finite; what tick raises.
        """
        total = torch.zeros((), device=self.batches.device)
        self.network.module.train()
        for i in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(i / steps)
            total += self._one(on_gradient)
            self.step += 1
            self.tick(self.step)
        mean = float(total) / steps
        if not abs(mean) < float("inf"):
            raise Diverged
        return mean

    def _one(self, on_gradient: Callable[[], None]) -> Tensor:
        x, y = self.batches.at(self.step)
        loss = self.objective.loss(self.network, x, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        on_gradient()
        self.optimizer.step()
        return loss.detach()


def mask_gradients(network: Network, masks: Mapping[str, Tensor], bias_masks: Mapping[str, Tensor]) -> None:
    """Zero the gradients of frozen weights and biases; with moments at 0 Adam leaves them exactly at 0."""
    W, biases = network.W(), network.b()
    for k, mask in masks.items():
        _mask(W[k], mask)
    for k, mask in bias_masks.items():
        _mask(biases[k], mask)


def _mask(parameter: nn.Parameter, mask: Tensor) -> None:
    if parameter.grad is not None:
        parameter.grad.mul_(mask)
