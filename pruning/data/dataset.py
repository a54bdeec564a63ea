"""A data set: arrays that may be larger than memory, and what is to be done to each example."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pruning.analysis import Array, DatasetSummary, Port, Preprocess, Targets
from pruning.analysis import Split as SplitSummary
from pruning.dtypes import WHOLE
from pruning.errors import DatasetMismatch
from pruning.fit import UNNAMED, bound_names

TYPES = {**WHOLE, "double": np.float64}
TARGET_TYPES: dict[Targets, type] = {"labels": np.float32, "numbers": np.float32}
Index = np.ndarray | slice


@dataclass(frozen=True)
class Split:
    """Examples as they are stored.

    x: (N, ...) by input, in the stored type; y: (N, ...) or None; rows: those of the arrays that belong to it, None:
    all; types: of the model's inputs that take something else than float32.
    """

    x: Mapping[str, np.ndarray]
    y: np.ndarray | None
    preprocess: Preprocess
    targets: Targets = "classes"
    rows: np.ndarray | None = None
    types: Mapping[str, type] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.x.values()))) if self.rows is None else len(self.rows)

    def prepared(self, index: Index) -> dict[str, np.ndarray]:
        """These examples by input, as floats: (x * scale - mean) / std; whole numbers as they are.

        Raises: DatasetMismatch: mean or std have another length than the channels.
        """
        rows = self._of_arrays(index)
        return {name: self._prepare(name, x[rows]) for name, x in self.x.items()}

    def answers(self, index: Index) -> np.ndarray | None:
        """The targets of these examples: int64 classes, or float32."""
        if self.y is None:
            return None
        return np.asarray(self.y[self._of_arrays(index)]).astype(TARGET_TYPES.get(self.targets, np.int64))

    def batches(self, size: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Prepared examples and targets, in order."""
        for i in range(0, len(self), size):
            piece = slice(i, min(i + size, len(self)))
            yield self.prepared(piece), self.answers(piece)

    def subset(self, index: np.ndarray) -> "Split":
        """The examples at these places; nothing is copied."""
        return replace(self, rows=index if self.rows is None else self.rows[index])

    def bound(self, ports: Sequence[Port]) -> "Split":
        """With the names and types of a model's inputs. Raises: DatasetMismatch: the names are others."""
        names = bound_names([p.name for p in ports], list(self.x))
        types = {p.name: TYPES[p.dtype] for p in ports if p.dtype in TYPES}
        return replace(self, x={port: self.x[name] for port, name in names.items()}, types=types)

    def _of_arrays(self, index: Index) -> Index:
        return index if self.rows is None else self.rows[index]

    def _prepare(self, name: str, x: np.ndarray) -> np.ndarray:
        dtype = self.types.get(name, np.float32)
        if dtype in WHOLE.values():
            return np.ascontiguousarray(x, dtype=dtype)
        mean, std = (self._by_channel(x, v) for v in (self.preprocess.mean, self.preprocess.std))
        prepared = (np.ascontiguousarray(x, dtype=np.float32) * np.float32(self.preprocess.scale) - mean) / std
        return prepared.astype(dtype, copy=False)

    def _by_channel(self, x: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
        """Made to meet a batch."""
        if len(values) == 1:
            return np.float32(values[0])  # type: ignore[return-value]
        axis = self.preprocess.channel_axis
        channels = x.shape[axis] if x.ndim > 1 else 1
        if len(values) != channels:
            raise DatasetMismatch(
                f"mean and std have {len(values)} values; the examples have {channels} channels "
                f"(layout {self.preprocess.layout})"
            )
        shape = [1] * x.ndim
        shape[axis] = channels
        return np.array(values, dtype=np.float32).reshape(shape)


@dataclass(frozen=True)
class Dataset:
    """train to learn from, val to choose by (None: cut from train), test to be used once, for the delivered file.

    held: what must live as long as the arrays are read.
    """

    train: Split
    test: Split
    val: Split | None = None
    class_names: tuple[str, ...] = ()
    held: Any = field(default=None, repr=False, compare=False)

    @property
    def splits(self) -> dict[str, Split]:
        """Those that are there, by name."""
        return {k: s for k in ("train", "val", "test") if (s := getattr(self, k)) is not None}

    def bound(self, ports: Sequence[Port]) -> "Dataset":
        """With the names and types of a model's inputs. Raises: DatasetMismatch: the names are others."""
        return replace(self, **{k: s.bound(ports) for k, s in self.splits.items()})

    def with_validation(self, share: float, seed: int) -> tuple[Split, Split]:
        """Training and validation examples; without a val split a seeded share of train is held out."""
        if self.val is not None:
            return self.train, self.val
        order = np.random.default_rng(seed).permutation(len(self.train))
        held_out = min(max(1, round(share * len(order))), len(order) - 1)
        return self.train.subset(np.sort(order[held_out:])), self.train.subset(np.sort(order[:held_out]))

    def summary(self, format: str) -> DatasetSummary:
        """What it holds."""
        targets, ys = self.train.targets, [s.y for s in self.splits.values() if s.y is not None]
        has_classes = targets in ("classes", "positions")
        return DatasetSummary(
            format=format,
            splits={k: _summary(s) for k, s in self.splits.items()},
            targets=targets,
            target_shape=ys[0].shape[1:] if ys else (),
            classes=max(int(y.max()) for y in ys) + 1 if has_classes else None,
            class_names=self.class_names if has_classes else (),
        )


def _summary(split: Split) -> SplitSummary:
    arrays = {name: Array(shape=x.shape[1:], dtype=str(x.dtype)) for name, x in split.x.items()}
    first = next(iter(arrays.values()))
    named = {} if list(arrays) == [UNNAMED] else arrays
    return SplitSummary(examples=len(split), shape=first.shape, dtype=first.dtype, inputs=named)
