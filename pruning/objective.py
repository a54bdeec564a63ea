"""What a training step lowers, and how a network is judged on a split."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pruning.batches import Batches
from pruning.fit import Goal
from pruning.losses import LOSSES, distance
from pruning.metrics import METRICS
from pruning.onnx.network import Network
from pruning.processes import ALONE, Group
from pruning.settings import Distill

EVALUATION_BATCH = 500
NO_TEACHER = Distill()


@dataclass(frozen=True)
class Objective:
    """A goal for a network.

    teacher: the dense network, where it says what is right for any output. distill: its share in the loss of the
    goal's output. mixed: products in bfloat16 while training. group: processes that share each batch.
    """

    goal: Goal
    teacher: Network | None
    distill: Distill = NO_TEACHER
    mixed: bool = False
    group: Group = ALONE

    @classmethod
    def of(
        cls,
        goal: Goal,
        network: Network,
        distill: Distill = NO_TEACHER,
        mixed: bool = False,
        teacher: Network | None = None,
    ) -> "Objective":
        """The network is still the dense one, and on its device: where no other is given the teacher is a copy."""
        if teacher is not None:
            teacher.module.eval().requires_grad_(False)
        elif goal.loss == "distill" or distill.weight or not goal.has_targets or len(network.outputs) > 1:
            teacher = copy.deepcopy(network)
            teacher.module.eval().requires_grad_(False)
        return cls(goal, teacher, distill, mixed)

    def loss(self, network: Network, x: Mapping[str, Tensor], y: Tensor | None) -> Tensor:
        """Of a batch, in the network's present mode; not finite where the network is not.

        Outputs that no targets are for are kept near the dense network's.
        """
        name, share = self.goal.output, self.distill.weight
        outputs, taught = self._given(network, x), {} if self.teacher is None else self._given(self.teacher, x)
        if y is None or self.goal.loss == "distill":
            return self._distance(network, outputs, taught)
        loss = LOSSES[self.goal.loss](outputs[name], y, network.gives[name], self.goal)
        if share:
            loss = (1 - share) * loss + share * self._distance(network, outputs, {name: taught[name]})
        others = {k: v for k, v in taught.items() if k != name and v.is_floating_point()}
        return loss + self._distance(network, outputs, others) if others else loss

    def taught_less(self, factor: float) -> "Objective":
        """With so much of the teacher's share in the loss."""
        return replace(self, distill=self.distill.model_copy(update={"weight": factor * self.distill.weight}))

    def measure(self, network: Network, split: Batches) -> float:
        """The goal's metric on all examples, in evaluation mode."""
        return METRICS[self.goal.metric].value(self.count(network, split))

    @torch.no_grad()
    def count(self, network: Network, split: Batches) -> np.ndarray:
        """The counts that make the metric, over all examples, in evaluation mode."""
        network.module.eval()
        own = [self._count(network, x, y) for x, y in split.in_order(EVALUATION_BATCH)]
        return np.sum(split.group.gathered(own), axis=0)

    def score(self, value: float) -> float:
        """A value of the metric as a number of which more is better."""
        return value if METRICS[self.goal.metric].is_score else -value

    def _given(self, network: Network, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        device = next(iter(x.values())).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.mixed):
            outputs = network(x)
        return {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in outputs.items()}

    def _distance(self, network: Network, outputs: Mapping[str, Tensor], taught: Mapping[str, Tensor]) -> Tensor:
        theirs = self.teacher.gives if self.teacher is not None else None
        return distance(outputs, taught, network.gives, self.goal, self.distill.temperature, theirs, self.group)

    def _count(self, network: Network, x: Mapping[str, Tensor], y: Tensor | None) -> np.ndarray:
        name = self.goal.output
        if y is None:
            assert self.teacher is not None  # a data set without targets has one
            y = self.teacher(x)[name]
        output = network(x)[name].cpu().numpy()
        return METRICS[self.goal.metric].count(output, y.cpu().numpy(), self.goal, network.gives[name])
