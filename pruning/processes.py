"""Several processes that train one net: each takes its part of every batch, and all hold the same weights.

A group of one does nothing at all, so that what trains need not ask. The others are started in pruning.launch.
"""

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

T = TypeVar("T")
NOTHING = object()


@dataclass(frozen=True)
class Group:
    """This process among those that do one job. What is said of all must be called by all, in the same order."""

    rank: int = 0
    size: int = 1

    def part(self, n: int) -> slice:
        """Which of n things in a row are this process's; parts differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def agreed(self, value: T) -> T:
        """The first process's value: whatever decides how training goes on, lest processes part ways."""
        if self.size == 1:
            return value
        found = [value if self.rank == 0 else None]
        dist.broadcast_object_list(found, 0)
        return found[0]  # type: ignore[return-value]

    def first(self, make: Callable[[], T]) -> T:
        """What the first process makes, alone, while the others wait for it."""
        return self.agreed(make() if self.rank == 0 else None)  # type: ignore[return-value]

    def in_turn(self, make: Callable[[], T]) -> T:
        """Every process makes it, the others when the first has: they find what it left."""
        made = make() if self.rank == 0 else None
        self.agreed(None)
        return make() if made is None else made

    def gathered(self, own: Sequence[T]) -> list[T]:
        """All things that were dealt out one by one, in their order."""
        if self.size == 1:
            return list(own)
        hands: list[Any] = [None] * self.size
        dist.all_gather_object(hands, own)
        return [one for one in chain(*zip_longest(*hands, fillvalue=NOTHING)) if one is not NOTHING]

    def sum(self, x: Tensor) -> Tensor:
        """Over all processes, element by element; gradients flow back to each."""
        return x if self.size == 1 else _Sum.apply(x)  # type: ignore[return-value]

    def mean(self, x: Tensor) -> Tensor:
        """Of the values of all processes."""
        return x.mean() if self.size == 1 else self.sum(x.sum()) / self.sum(x.new_tensor(float(x.numel())))

    def moments(self, x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Variance (uncorrected), mean and number of the values of all processes, over axes of which 0 is one.

        Source: Chan et al. 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
        """
        var, mean = torch.var_mean(x, list(axes), correction=0)
        count = torch.full_like(mean, x.numel() // mean.numel())
        if self.size == 1:
            return var, mean, count
        each = mean.new_zeros(self.size, 3, *mean.shape)
        each[self.rank] = torch.stack([var, mean, count])
        vars, means, counts = self.sum(each).unbind(1)
        total = counts.sum(0)
        mean = (means * counts).sum(0) / total
        return ((vars + (means - mean).square()) * counts).sum(0) / total, mean, total

    @torch.no_grad()
    def align(self, tensors: Iterable[Tensor]) -> None:
        """They take the first process's values."""
        for tensor in tensors if self.size > 1 else ():
            value = tensor.contiguous()  # channels_last is not, for a broadcast
            dist.broadcast(value, 0)
            if value is not tensor:
                tensor.copy_(value)

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module as it is to be called to train: its gradients will be means over the processes.

        static_graph: parameters that the loss does not see have no gradient then either.
        """
        if self.size == 1:
            return module
        gc.collect()  # one that was made before holds as much memory as gradients take, in a cycle
        return nn.parallel.DistributedDataParallel(module, forward_sync_buffers=False, static_graph=True)


ALONE = Group()


class _Sum(torch.autograd.Function):
    """torch.nn.SyncBatchNorm's is for CUDA alone, and torch.distributed.nn's is deprecated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Sum.apply(gradients[0])
