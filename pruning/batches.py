"""Examples on their way to a network: drawn in a seeded order to train on, or in order to be judged on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pruning.augment import AUGMENTATIONS
from pruning.data.dataset import Index, Split
from pruning.processes import ALONE, Group

PIECE = 4096
Batch = tuple[dict[str, Tensor], Tensor | None]


@dataclass(frozen=True)
class Kept:
    """All prepared examples and their targets, on the device."""

    x: dict[str, Tensor]
    y: Tensor | None

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "Kept":
        """Prepare all examples, a piece at a time."""
        x: dict[str, Tensor] = {}
        for i in range(0, len(split), PIECE):
            for name, values in split.prepared(slice(i, min(i + PIECE, len(split)))).items():
                piece = torch.from_numpy(values)
                if not i:
                    x[name] = torch.empty((len(split), *piece.shape[1:]), dtype=piece.dtype, device=device)
                x[name][i : i + len(piece)] = piece
        return cls(x, _tensor(split.answers(slice(0, len(split))), device))


@dataclass
class Batches:
    """A split for a device, drawn in a seeded order that goes on for ever; inputs by name, targets None without labels.

    Step i is the same batch whoever asks and whenever: a resumed run sees what the first would have seen. kept: None
    where the examples are prepared batch by batch, from arrays that are larger than memory: the batches are the same.
    group: processes that share each batch; size is that of the whole.
    """

    split: Split
    size: int
    seed: int
    device: torch.device
    kept: Kept | None = None
    augment: str = "none"
    group: Group = ALONE

    @classmethod
    def of(cls, split: Split, size: int | None, seed: int, device: torch.device, memory: float = math.inf) -> "Batches":
        """Prepared once where they take no more bytes than `memory`; size None: see default_size."""
        kept = Kept.of(split, device) if prepared_bytes(split) <= memory else None
        return cls(split, batch_size(size, len(split)), seed, device, kept)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def steps(self) -> int:
        """Steps in one epoch; the incomplete batch at its end is left out."""
        return len(self) // self.size

    @property
    def weight(self) -> float:
        """Of this process's mean over its part of a batch, in the mean of all processes: parts may differ by one."""
        part = self.group.part(self.size)
        return (part.stop - part.start) * self.group.size / self.size

    def at(self, step: int) -> Batch:
        """This process's part of the batch of a training step, counted from 0 over all epochs; its images changed as
        `augment` says.
        """
        epoch, place = divmod(step, self.steps)
        if getattr(self, "_epoch", None) != epoch:
            self._order, self._epoch = np.random.default_rng((self.seed, epoch)).permutation(len(self)), epoch
        x, y = self._take(self._order[place * self.size : (place + 1) * self.size][self.group.part(self.size)])
        if self.augment == "none":
            return x, y
        return {name: self._changed(v, step) if v.dim() == 4 else v for name, v in x.items()}, y

    def in_order(self, size: int) -> Iterator[Batch]:
        """All examples once, in pieces that are dealt out to the processes."""
        places = range(self.group.rank * size, len(self), self.group.size * size)
        return (self._take(slice(i, min(i + size, len(self)))) for i in places)

    def _changed(self, x: Tensor, step: int) -> Tensor:
        """Every input in the same way."""
        rng, change = np.random.default_rng((self.seed, step, 1)), AUGMENTATIONS[self.augment]
        where = (self.size, self.group.part(self.size))
        if self.split.preprocess.layout == "nhwc":
            return change(x.permute(0, 3, 1, 2), rng, *where).permute(0, 2, 3, 1)
        return change(x, rng, *where)

    def _take(self, index: Index) -> Batch:
        if self.kept is None:
            x = {name: torch.from_numpy(v).to(self.device) for name, v in self.split.prepared(index).items()}
            return {k: _images(v) for k, v in x.items()}, _tensor(self.split.answers(index), self.device)
        place = torch.from_numpy(index).to(self.device) if isinstance(index, np.ndarray) else index
        y = None if self.kept.y is None else self.kept.y[place]
        return {name: _images(v[place]) for name, v in self.kept.x.items()}, y


def batch_size(wanted: int | None, examples: int) -> int:
    """Of all processes together; no more than there are examples."""
    return min(wanted or default_size(examples), examples)


def default_size(examples: int) -> int:
    """128, halved down to 16 while an epoch would have fewer than 50 steps: small data needs its steps."""
    size = 128
    while size > 16 and examples // size < 50:
        size //= 2
    return size


def prepared_bytes(split: Split) -> int:
    """What all examples and targets of a split take when they are prepared."""
    x = sum(math.prod(a.shape[1:]) * np.dtype(split.types.get(k, np.float32)).itemsize for k, a in split.x.items())
    return len(split) * (x + (0 if split.y is None else 8 * math.prod(split.y.shape[1:])))


def _tensor(values: np.ndarray | None, device: torch.device) -> Tensor | None:
    return None if values is None else torch.from_numpy(values).to(device)


def _images(x: Tensor) -> Tensor:
    """channels_last where there are channels: twice as fast on the CPU at large batches."""
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
