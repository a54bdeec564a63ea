"""Training steps: the W-step of ADMM and masked retraining are this loop with a different gradient hook."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pruning.data.dataset import Split
from pruning.errors import Diverged
from pruning.onnx.network import Network

EVALUATION_BATCH = 500


@dataclass
class Batches:
    """A training split on the device, drawn in a seeded order that goes on for ever.

    Step i is the same batch whoever asks and whenever: a resumed run sees what the first would have seen.
    """

    x: Tensor
    y: Tensor
    size: int
    seed: int

    @classmethod
    def of(cls, split: Split, size: int | None, seed: int, device: torch.device) -> "Batches":
        """All examples prepared once and kept in memory; size None: see default_size."""
        x = torch.empty(0)
        for i in range(0, len(split), 4096):
            piece = torch.from_numpy(split.prepared(slice(i, i + 4096)))
            if not i:
                x = torch.empty((len(split), *piece.shape[1:]), device=device)
            x[i : i + len(piece)] = piece
        return cls(x, torch.from_numpy(split.y).to(device), min(size or default_size(len(split)), len(split)), seed)

    @property
    def steps(self) -> int:
        """Steps in one epoch; the incomplete batch at its end is left out."""
        return len(self.y) // self.size

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a training step, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.steps)
        if getattr(self, "_epoch", None) != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.y))
            self._order, self._epoch = torch.from_numpy(order).to(self.y.device), epoch
        index = self._order[place * self.size : (place + 1) * self.size]
        return _images(self.x[index]), self.y[index]


def default_size(examples: int) -> int:
    """128, halved down to 16 while an epoch would have fewer than 50 steps: small data needs its steps."""
    size = 128
    while size > 16 and examples // size < 50:
        size //= 2
    return size


@dataclass
class Trainer:
    """A network, its data and Adam; `step` counts the training steps since the job began."""

    network: Network
    batches: Batches
    optimizer: torch.optim.Adam
    tick: Callable[[int], None]
    step: int = 0

    def train(self, steps: int, rate: Callable[[float], float], on_gradient: Callable[[], None]) -> float:
        """Train on; returns the mean loss.

        Args: rate: learning rate by the share of these steps that is done, 0 to 1;
        on_gradient: called between the backward pass and Adam.
        Raises: Diverged: the loss is not finite; what tick raises.
        """
        module, total = self.network.module.train(), torch.zeros((), device=self.batches.x.device)
        for i in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(i / steps)
            total += self._one(module, on_gradient)
            self.step += 1
            self.tick(self.step)
        mean = float(total) / steps
        if not abs(mean) < float("inf"):
            raise Diverged
        return mean

    def _one(self, module: nn.Module, on_gradient: Callable[[], None]) -> Tensor:
        x, y = self.batches.at(self.step)
        loss = loss_of(self.network, module(x), y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        on_gradient()
        self.optimizer.step()
        return loss.detach()


def loss_of(network: Network, output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, whether the graph ends in logits, probabilities or their logarithms."""
    gives = network.gives[network.outputs[0]]
    if gives == "logits":
        return F.cross_entropy(output, y)
    return F.nll_loss(output if gives == "log_probabilities" else output.clamp_min(1e-12).log(), y)


@torch.no_grad()
def top1(network: Network, split: Batches) -> float:
    """Share of the examples whose largest output is the label, in evaluation mode."""
    module, right = network.module.eval(), 0
    for i in range(0, len(split.y), EVALUATION_BATCH):
        output = module(_images(split.x[i : i + EVALUATION_BATCH]))
        right += int((output.argmax(-1) == split.y[i : i + EVALUATION_BATCH]).sum())
    return right / len(split.y)


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


def _images(x: Tensor) -> Tensor:
    """channels_last where there are channels: twice as fast on the CPU at large batches."""
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
