"""What a training step lowers, and how a network is judged on a split."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pruning.batches import Batches
from pruning.fit import Goal
from pruning.losses import LOSSES, distance
from pruning.metrics import METRICS
from pruning.onnx.network import Network

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Objective:
    """A goal for a network. teacher: the dense network, where it says what is right for any output."""

    goal: Goal
    teacher: Network | None

    @classmethod
    def of(cls, goal: Goal, network: Network) -> "Objective":
        """The network is still the dense one, and on its device: the teacher is a copy."""
        teacher = None
        if goal.loss == "distill" or not goal.has_targets or len(network.outputs) > 1:
            teacher = copy.deepcopy(network)
            teacher.module.eval().requires_grad_(False)
        return cls(goal, teacher)

    def loss(self, network: Network, x: Mapping[str, Tensor], y: Tensor | None) -> Tensor:
        """Of a batch, in the network's present mode; not finite where the network is not.

        Outputs that no targets are for are kept near the dense network's.
        """
        outputs, name = network(x), self.goal.output
        taught = self.teacher(x) if self.teacher is not None else {}
        if y is None or self.goal.loss == "distill":
            return distance(outputs, taught, network.gives, self.goal)
        loss = LOSSES[self.goal.loss](outputs[name], y, network.gives[name], self.goal)
        others = {k: v for k, v in taught.items() if k != name and v.is_floating_point()}
        return loss + distance(outputs, others, network.gives, self.goal) if others else loss

    def measure(self, network: Network, split: Batches) -> float:
        """The goal's metric on all examples, in evaluation mode."""
        return METRICS[self.goal.metric].value(self.count(network, split))

    @torch.no_grad()
    def count(self, network: Network, split: Batches) -> np.ndarray:
        """The counts that make the metric, over all examples, in evaluation mode."""
        network.module.eval()
        return np.sum([self._count(network, x, y) for x, y in split.in_order(EVALUATION_BATCH)], axis=0)

    def score(self, value: float) -> float:
        """A value of the metric as a number of which more is better."""
        return value if METRICS[self.goal.metric].is_score else -value

    def _count(self, network: Network, x: Mapping[str, Tensor], y: Tensor | None) -> np.ndarray:
        name = self.goal.output
        if y is None:
            assert self.teacher is not None  # a data set without targets has one
            y = self.teacher(x)[name]
        output = network(x)[name].cpu().numpy()
        return METRICS[self.goal.metric].count(output, y.cpu().numpy(), self.goal, network.gives[name])
