"""A running mean of a network over its training steps: often better than where the steps end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pruning.onnx.network import Network
from pruning.stages.problem import Checkpoint, unpack

START = 10  # the first steps count for less than the decay says


class Mean:
    """Of all floating-point values of a network; decay 0: of nothing. What is zero at every step is zero in it."""

    def __init__(self, network: Network, decay: float, resume: Checkpoint | None) -> None:
        self.network, self.decay, self.count = network, decay, 0
        self.held = {k: v.clone() for k, v in self._values().items()} if decay else {}
        if resume is not None:
            self.count = int(resume.numbers["averaged"])
            self.held = {k: v.to(self.held[k].device) for k, v in unpack(resume.tensors, "mean").items()}

    @torch.no_grad()
    def update(self) -> None:
        """After a training step."""
        if self.held:
            self.count += 1
            values = self._values()
            for k, mean in self.held.items():
                mean.lerp_(values[k], 1 - min(self.decay, self.count / (self.count + START)))

    def copied(self) -> Callable[[], None]:
        """A copy of the mean; calling it puts it back."""
        held, count = {k: v.clone() for k, v in self.held.items()}, self.count

        def put_back() -> None:
            self.held, self.count = held, count

        return put_back

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The network is its mean meanwhile."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        values = self._values()
        for k, mean in self.held.items():
            now = values[k].clone()
            values[k].copy_(mean)
            mean.copy_(now)

    def _values(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.network.module.state_dict().items() if v.is_floating_point()}
