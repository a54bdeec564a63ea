"""From a reader's arrays to a data set: what must hold for every format."""

from collections.abc import Iterator, Mapping

import numpy as np

from pruning.analysis import Preprocess, Targets
from pruning.data.dataset import Dataset, Split
from pruning.data.shelf import Shelf
from pruning.errors import UnreadableDataset
from pruning.fit import UNNAMED

LARGEST = 1e30  # float32 ends at 3e38, and sums of products end there sooner
VALUES = 1 << 22  # looked at together: arrays may be larger than memory
SPLITS = ("train", "test", "val")
Arrays = Mapping[str, np.ndarray]


def dataset_of(shelf: Shelf, preprocess: Preprocess) -> Dataset:
    """The data set that these arrays are.

    Raises: UnreadableDataset: arrays are missing, or do not belong together.
    """
    inputs = {split: _inputs(shelf.arrays, split) for split in SPLITS}
    answers = {split: shelf.arrays.get(f"y_{split}") for split in SPLITS}
    _check_names(inputs, answers)
    targets, ys = _settle({k: y for k, y in answers.items() if y is not None})
    splits = {k: Split(x, ys.get(k), preprocess, targets) for k, x in inputs.items() if x}
    for name, split in splits.items():
        _check_lengths(name, split)
    _check_shapes(splits)
    return Dataset(splits["train"], splits["test"], splits.get("val"), shelf.class_names)


def check_values(shelf: Shelf) -> None:
    """Read every value once. Raises: UnreadableDataset: something is no number, or too large."""
    for name, array in shelf.arrays.items():
        if array.dtype.kind not in "fiub" or array.ndim < 1:
            raise UnreadableDataset(
                f"{name} must hold numbers with the examples along axis 0; got {array.dtype} of shape {array.shape}"
            )
        if array.dtype.kind == "f":
            _check_finite(name, array)


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array in parts along axis 0 that fit into memory."""
    step = max(1, VALUES // max(1, array[:1].size))
    return (np.asarray(array[i : i + step]) for i in range(0, len(array), step))


def _check_finite(name: str, array: np.ndarray) -> None:
    for piece in pieces(array):
        if not np.isfinite(piece).all():
            raise UnreadableDataset(f"{name} holds NaN or infinite values")
        if float(np.abs(piece).max()) > LARGEST:
            raise UnreadableDataset(f"{name} holds values beyond {LARGEST:g}; bring the examples to a sensible range")


def _inputs(arrays: Arrays, split: str) -> dict[str, np.ndarray]:
    """By the name of the input: x_train.NAME, or x_train where there is one."""
    named = {k.removeprefix(f"x_{split}."): a for k, a in arrays.items() if k.startswith(f"x_{split}.")}
    alone = {UNNAMED: arrays[f"x_{split}"]} if f"x_{split}" in arrays else {}
    if named and alone:
        raise UnreadableDataset(
            f"x_{split} and x_{split}.{next(iter(named))} are both there: name every input, or none"
        )
    return named or alone


def _check_names(inputs: Mapping[str, Arrays], answers: Mapping[str, np.ndarray | None]) -> None:
    labelled = any(y is not None for y in answers.values())
    needed = [f"{k}_{s}" for s in ("train", "test") for k in ("xy" if labelled else "x")]
    there = {f"x_{s}" for s in inputs if inputs[s]} | {f"y_{s}" for s in answers if answers[s] is not None}
    if missing := [k for k in needed if k not in there]:
        raise UnreadableDataset(
            f"the archive lacks {', '.join(missing)}; it needs {', '.join(needed)}"
            + ("" if labelled else " (and y_train, y_test, unless the dense model is to teach)")
        )
    if ("x_val" in there, "y_val" in there) in ((False, True), (True, not labelled)):
        raise UnreadableDataset("x_val and y_val come together: the archive holds only one of them")


def _check_lengths(name: str, split: Split) -> None:
    arrays = {f"x_{name}" if k == UNNAMED else f"x_{name}.{k}": x for k, x in split.x.items()}
    for key, x in arrays.items():
        if len(x) != len(split):
            raise UnreadableDataset(f"{key} holds {len(x):,} examples but {next(iter(arrays))} {len(split):,}")
        if split.y is not None and len(x) != len(split.y):
            raise UnreadableDataset(f"{key} holds {len(x):,} examples but y_{name} {len(split.y):,} labels")


def _check_shapes(splits: Mapping[str, Split]) -> None:
    train = splits["train"]
    for split in splits.values():
        if set(split.x) != set(train.x):
            raise UnreadableDataset(f"the splits name different inputs: {sorted(train.x)} and {sorted(split.x)}")
        for name, x in split.x.items():
            if x.shape[1:] != train.x[name].shape[1:]:
                shapes = sorted({x.shape[1:], train.x[name].shape[1:]})
                raise UnreadableDataset(f"the splits hold examples of different shapes: {', '.join(map(str, shapes))}")
        if split.y is not None and train.y is not None and split.y.shape[1:] != train.y.shape[1:]:
            raise UnreadableDataset(
                f"the splits hold targets of different shapes: {train.y.shape[1:]}, {split.y.shape[1:]}"
            )
    if len(train) < 2:
        raise UnreadableDataset("x_train needs at least 2 examples: one to learn from and one to choose models by")


def _settle(ys: Mapping[str, np.ndarray]) -> tuple[Targets, dict[str, np.ndarray]]:
    """What the targets are, and the targets: one label an example also where they came one-hot."""
    kinds = {name: _kind(y) for name, y in ys.items()}
    found = set(kinds.values())
    if found == {"labels", "one_hot"}:
        found = {"labels"}
    if len(found) > 1:
        said = ", ".join(f"y_{name} of {ys[name].dtype} {ys[name].shape}" for name in ys)
        raise UnreadableDataset(f"the splits hold targets of different kinds: {said}")
    kind = found.pop() if found else "none"
    if kind == "one_hot":
        return "classes", {name: _argmax(y) for name, y in ys.items()}
    if kind == "classes":
        ys = {name: y.reshape(-1).astype(np.int64) for name, y in ys.items()}
    if kind in ("classes", "positions"):
        for name, y in ys.items():
            _check_labels(name, y)
    return kind, dict(ys)  # type: ignore[return-value]


def _kind(y: np.ndarray) -> str:
    whole = y.dtype.kind in "iub"
    if y.ndim == 1 or y.shape[1:] == (1,):  # floats of 0 and 1 are what Keras has for yes and no
        return "classes" if whole or all(np.isin(piece, (0, 1)).all() for piece in pieces(y)) else "numbers"
    if y.ndim == 2 and all(np.isin(piece, (0, 1)).all() for piece in pieces(y)):
        is_one = y.shape[1] > 1 and all((piece.sum(axis=1) == 1).all() for piece in pieces(y))
        return "one_hot" if is_one else "labels"
    return "positions" if whole else "numbers"


def _argmax(y: np.ndarray) -> np.ndarray:
    return np.concatenate([piece.argmax(axis=1) for piece in pieces(y)]).astype(np.int64)


def _check_labels(name: str, y: np.ndarray) -> None:
    least, most = int(y.min()), int(y.max())
    if least < 0 or most >= 2**31:
        raise UnreadableDataset(f"y_{name} holds the label {least if least < 0 else most}; labels count from 0")
