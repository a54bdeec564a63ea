"""Operators that pick or place values by index."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from pruning.onnx.build import Builder
from pruning.onnx.node import Node

REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def gather(build: Builder, node: Node) -> Any:
    """A stored table that is indexed at run time (an embedding) is trained."""
    table = build.read(node, 0) if isinstance(node.input(1), fx.Node) else node.input(0)
    index, axis = node.input(1), node.attribute("axis", 0)
    if isinstance(index, Tensor) and index.dim() == 0:
        return build.call(torch.select, table, axis, int(index))
    return build.call(take, table, index, axis)


def take(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """X indexed along an axis by a tensor of any rank; negative indices count from the end."""
    axis = axis % x.dim()
    if indices.dim() == 0:
        return x.select(axis, int(indices))
    flat = indices.long().flatten().to(x.device)
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    return torch.reshape(x.index_select(axis, flat), (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def gather_elements(build: Builder, node: Node) -> Any:
    return build.call(take_elements, node.input(0), node.input(1), node.attribute("axis", 0))


def take_elements(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Each element of the result by an index of its own along an axis."""
    return torch.gather(x, axis, _from_the_start(indices, x.shape[axis]))


def gather_nd(build: Builder, node: Node) -> Any:
    return build.call(take_nd, node.input(0), node.input(1), node.attribute("batch_dims", 0))


def take_nd(x: Tensor, indices: Tensor, batch_dims: int) -> Tensor:
    """Slices of x by tuples of indices along the last axis."""
    if batch_dims:
        flat_x, flat_i = x.flatten(0, batch_dims - 1), indices.flatten(0, batch_dims - 1)
        parts = torch.stack([take_nd(a, i, 0) for a, i in zip(flat_x, flat_i, strict=True)])
        return parts.reshape(*x.shape[:batch_dims], *parts.shape[1:])
    return x[tuple(indices.long().unbind(-1))]


def scatter_elements(build: Builder, node: Node) -> Any:
    axis, reduction = node.attribute("axis", 0), node.attribute("reduction", "none")
    return build.call(place_elements, *node.inputs, axis, reduction)


def place_elements(x: Tensor, indices: Tensor, updates: Tensor, axis: int, reduction: str) -> Tensor:
    """X with updates at indices along an axis."""
    places = _from_the_start(indices, x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, REDUCTIONS[reduction], include_self=True)


def scatter_nd(build: Builder, node: Node) -> Any:
    return build.call(place_nd, *node.inputs, node.attribute("reduction", "none"))


def place_nd(x: Tensor, indices: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """X with updates at tuples of indices along the last axis."""
    depth = indices.shape[-1]
    tuples = _tuples(indices.long(), x.shape[:depth])
    rows = torch.reshape(x, (-1, *x.shape[depth:]))
    new = torch.reshape(updates, (-1, *x.shape[depth:]))
    over = tuples.reshape(-1, *[1] * (new.dim() - 1)).expand(new.shape)
    if reduction == "none":
        return rows.scatter(0, over, new).reshape(x.shape)
    return rows.scatter_reduce(0, over, new, REDUCTIONS[reduction], include_self=True).reshape(x.shape)


def _tuples(indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Tuples of indices as places in the flattened axes."""
    places = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=indices.device)
    for k, n in enumerate(sizes):
        places = places * n + torch.where(indices[..., k] < 0, indices[..., k] + n, indices[..., k])
    return places.flatten()


def one_hot(build: Builder, node: Node) -> Any:
    return build.call(marked, *node.inputs, node.attribute("axis", -1))


def marked(indices: Tensor, length: Tensor, values: Tensor, axis: int) -> Tensor:
    """values[1] at the index, values[0] elsewhere, along a new axis; an index outside marks nothing."""
    places, depth = indices.long(), int(length)
    inside = (places >= -depth) & (places < depth)
    hot = F.one_hot(torch.where(inside, places % depth, 0), depth).bool() & inside.unsqueeze(-1)
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


def compress(build: Builder, node: Node) -> Any:
    return build.call(kept, node.input(0), node.input(1), node.attribute("axis"))


def kept(x: Tensor, condition: Tensor, axis: int | None) -> Tensor:
    """X where the condition holds, along an axis or flattened."""
    x = x.flatten() if axis is None else x
    return x.index_select(axis or 0, condition.nonzero().flatten())


def non_zero(build: Builder, node: Node) -> Any:
    return build.call(places_of, node.input(0))


def places_of(x: Tensor) -> Tensor:
    """(rank, count) indices of what is not zero."""
    return x.nonzero().t()


def _from_the_start(indices: Tensor, n: int) -> Tensor:
    return torch.where(indices < 0, indices + n, indices).long()


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {
    "Compress": compress,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "NonZero": non_zero,
    "OneHot": one_hot,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
