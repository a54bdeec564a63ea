"""Sequences of tensors, which exporters make of lists, chunks and unbinds."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pruning.onnx.build import Builder, makes_numbers, reads_numbers
from pruning.onnx.node import Node


def sequence_empty(build: Builder, node: Node) -> Any:
    return []


def sequence_construct(build: Builder, node: Node) -> Any:
    return build.call(listed, *node.inputs)


def listed(*items: Tensor) -> list[Tensor]:
    """All of them."""
    return list(items)


def sequence_insert(build: Builder, node: Node) -> Any:
    return build.call(inserted, *node.inputs)


@reads_numbers
def inserted(items: list[Tensor], item: Tensor, place: Tensor | None = None) -> list[Tensor]:
    """With an item at a place, at the end if there is none."""
    i = len(items) if place is None else int(place)
    i = i + len(items) if i < 0 else i
    return [*items[:i], item, *items[i:]]


def sequence_erase(build: Builder, node: Node) -> Any:
    return build.call(erased, *node.inputs)


@reads_numbers
def erased(items: list[Tensor], place: Tensor | None = None) -> list[Tensor]:
    """Without the item at a place, the last if there is none."""
    i = (len(items) - 1 if place is None else int(place)) % len(items)
    return [*items[:i], *items[i + 1 :]]


def sequence_at(build: Builder, node: Node) -> Any:
    return build.call(item_at, *node.inputs)


@reads_numbers
def item_at(items: list[Tensor], place: Tensor) -> Tensor:
    """The item at a place."""
    return items[int(place)]


def sequence_length(build: Builder, node: Node) -> Any:
    return build.call(length_of, node.input(0))


@makes_numbers
def length_of(items: list[Tensor]) -> Tensor:
    """How many there are, as int64."""
    return torch.tensor(len(items), dtype=torch.int64)


def split_to_sequence(build: Builder, node: Node) -> Any:
    keep, axis = bool(node.attribute("keepdims", 1)), node.attribute("axis", 0)
    return build.call(pieces_of, node.input(0), node.input(1), axis, keep)


@reads_numbers
def pieces_of(x: Tensor, sizes: Tensor | None, axis: int, keep: bool) -> list[Tensor]:
    """X cut along an axis: into ones, into pieces of one length, or of these lengths."""
    if sizes is None:
        return list(torch.split(x, 1, axis)) if keep else list(torch.unbind(x, axis))
    return list(torch.split(x, int(sizes) if sizes.dim() == 0 else [int(n) for n in sizes], axis))


def concat_from_sequence(build: Builder, node: Node) -> Any:
    return build.call(joined, node.input(0), node.attribute("axis"), bool(node.attribute("new_axis", 0)))


def joined(items: list[Tensor], axis: int, new: bool) -> Tensor:
    """One tensor of all, along an axis, or along a new one."""
    return (torch.stack if new else torch.cat)(items, axis)


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {
    "ConcatFromSequence": concat_from_sequence,
    "SequenceAt": sequence_at,
    "SequenceConstruct": sequence_construct,
    "SequenceEmpty": sequence_empty,
    "SequenceErase": sequence_erase,
    "SequenceInsert": sequence_insert,
    "SequenceLength": sequence_length,
    "SplitToSequence": split_to_sequence,
}
