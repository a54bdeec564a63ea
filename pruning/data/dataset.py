"""A data set in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pruning.analysis import DatasetSummary, Preprocess
from pruning.analysis import Split as SplitSummary
from pruning.errors import DatasetMismatch


@dataclass(frozen=True)
class Split:
    """Examples as they are stored, and what is to be done to each.

    x: (N, ...) in the stored type; y: (N,) int64 labels.
    """

    x: np.ndarray
    y: np.ndarray
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.y)

    def prepared(self, index: np.ndarray | slice) -> np.ndarray:
        """These examples as float32, (x * scale - mean) / std; mean and std by channel, axis 1.

        Raises: DatasetMismatch: mean or std have another length than the channels.
        """
        x = np.ascontiguousarray(self.x[index], dtype=np.float32)
        mean, std = (self._by_channel(v) for v in (self.preprocess.mean, self.preprocess.std))
        return (x * np.float32(self.preprocess.scale) - mean) / std

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Prepared examples and labels, in order."""
        for i in range(0, len(self), size):
            yield self.prepared(slice(i, i + size)), self.y[i : i + size]

    def subset(self, index: np.ndarray) -> "Split":
        """The examples at these places."""
        return replace(self, x=self.x[index], y=self.y[index])

    def _by_channel(self, values: tuple[float, ...]) -> np.ndarray:
        if len(values) not in (1, self.x.shape[1]):
            raise DatasetMismatch(
                f"mean and std have {len(values)} values; the examples have {self.x.shape[1]} channels"
            )
        return np.array(values, dtype=np.float32).reshape(1, -1, *[1] * (self.x.ndim - 2))


@dataclass(frozen=True)
class Dataset:
    """train to learn from, val to choose by (None: cut from train), test to be used once, for the delivered file."""

    train: Split
    test: Split
    val: Split | None = None

    def with_validation(self, share: float, seed: int) -> tuple[Split, Split]:
        """Training and validation examples; without a val split a seeded share of train is held out."""
        if self.val is not None:
            return self.train, self.val
        order = np.random.default_rng(seed).permutation(len(self.train))
        held_out = min(max(1, round(share * len(order))), len(order) - 1)
        return self.train.subset(np.sort(order[held_out:])), self.train.subset(np.sort(order[:held_out]))

    def summary(self, format: str) -> DatasetSummary:
        """What it holds."""
        splits = {k: s for k in ("train", "val", "test") if (s := getattr(self, k)) is not None}
        return DatasetSummary(
            format=format,
            splits={
                k: SplitSummary(examples=len(s), shape=s.x.shape[1:], dtype=str(s.x.dtype)) for k, s in splits.items()
            },
            classes=max(int(s.y.max()) for s in splits.values()) + 1,
        )
