"""What a codec is given: stored tensors that are decoded together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pruning.onnx.codecs.pieces import Pieces

T = TypeVar("T")
Emit = Callable[[Pieces, np.ndarray], str | None]


@dataclass(frozen=True)
class Places:
    """Names of values (n,): indices as int64, and where there is one at hand, a float 1 for each."""

    indices: str
    ones: str | None = None


@dataclass(frozen=True)
class Stored:
    """A tensor of the file under the name that nodes use."""

    name: str
    values: np.ndarray


def flat(group: Sequence[Stored]) -> np.ndarray:
    """All their values, one after the other."""
    return np.concatenate([one.values.reshape(-1) for one in group]) if len(group) > 1 else group[0].values.reshape(-1)


def bits_of(values: np.ndarray) -> np.ndarray:
    """The bit patterns as whole numbers: -0 is not 0."""
    return values.view(f"u{values.itemsize}")


def smallest(
    pieces: Pieces, table: Mapping[str, Callable[[Pieces, np.ndarray], T | None]], values: np.ndarray
) -> tuple[T, str]:
    """Emit the stream that takes fewest bytes; returns what it gives, and its name in the table."""
    sizes = {}
    for name, emit in table.items():
        trial = Pieces(pieces.opset)
        if emit(trial, values) is not None:
            sizes[name] = trial.size()
    best = min(sizes, key=lambda name: sizes[name])
    output = table[best](pieces, values)
    assert output is not None
    return output, best


def separate(pieces: Pieces, joined: str, group: Sequence[Stored]) -> None:
    """Nodes that cut a flat tensor into the group's, in their shapes and under their names."""
    if len(group) == 1:
        pieces.node("Reshape", joined, pieces.whole(*group[0].values.shape), out=group[0].name)
        return
    parts = cut(
        pieces,
        joined,
        [one.values.size for one in group],
        [one.name if one.values.ndim == 1 else pieces.name() for one in group],
    )
    for part, one in zip(parts, group, strict=True):
        if part != one.name:
            pieces.node("Reshape", part, pieces.whole(*one.values.shape), out=one.name)


def cut(pieces: Pieces, joined: str, sizes: Sequence[int], names: list[str]) -> list[str]:
    """A node that cuts a tensor along its first axis."""
    if pieces.opset < 13:  # sizes were an attribute
        return pieces.nodes_outputs("Split", [joined], names, split=list(sizes))
    return pieces.nodes_outputs("Split", [joined, pieces.whole(*sizes)], names)
