"""Operators that move values about: reshapes, transpositions, joins, cuts and padding."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from pruning.onnx.build import LARGEST_CONSTANT, Builder, reads_numbers
from pruning.onnx.node import Node
from pruning.onnx.ops.windows import reversed_pairs


def flatten(build: Builder, node: Node) -> Any:
    return build.call(to_matrix, node.input(0), node.attribute("axis", 1))


def to_matrix(x: Tensor, axis: int) -> Tensor:
    """X as a matrix cut at `axis`."""
    if axis == 1 and x.dim() > 1 and x.numel():
        return x.flatten(1)
    place = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:place]), math.prod(x.shape[place:]))


def reshape(build: Builder, node: Node) -> Any:
    """A literal batch size that the exporter wrote down becomes the batch at hand."""
    x, target = node.inputs[0], node.attribute("shape") if node.opset < 5 else node.input(1)
    zero = bool(node.attribute("allowzero", 0))
    if isinstance(target, fx.Node):
        return build.call(to_computed_shape, x, target, zero)
    given = [int(n) for n in (target if isinstance(target, list) else target.flatten())]  # type: ignore[union-attr]
    dims = given
    if isinstance(x, fx.Node) and build.batch is not None:
        dims = freed(dims, build.static(node, 0), build.shape(node, 0), build.batch)
        zero = zero and 0 in given
    if dims == [0, -1] and not zero:
        return build.call(to_matrix, x, 1)
    return build.call(to_shape, x, dims, zero)


def freed(dims: list[int], literal: tuple[int, ...] | None, other: tuple[int, ...] | None, batch: int) -> list[int]:
    """A literal target shape with the axis that holds the batch left open.

    Row by row an element keeps its place, so the batch stays behind as many elements as before.
    Args: literal, other: shapes of the input at the exporter's batch, and at another one; None: not known.
    """
    if literal is None or other is None or len(literal) != len(other):
        return [0, *dims[1:]] if dims and dims[0] == batch else dims
    axis = next((i for i, (a, b) in enumerate(zip(literal, other, strict=True)) if a != b), None)
    whole = resolved(dims, literal)
    if axis is None or whole is None:
        return dims
    before = math.prod(literal[:axis])
    fitting = [j for j, n in enumerate(whole) if math.prod(whole[:j]) == before and n % batch == 0]
    if not fitting:
        return dims
    chosen = axis if axis in fitting else fitting[0]
    return [-1 if j == chosen else n for j, n in enumerate(whole)]


def resolved(dims: Sequence[int], of: Sequence[int]) -> list[int] | None:
    """Target sizes with 0 and -1 filled in for an input of this shape; None: they do not fit."""
    sizes = [of[i] if n == 0 and i < len(of) else n for i, n in enumerate(dims)]
    known = math.prod(n for n in sizes if n != -1)
    if -1 in sizes and known:
        sizes[sizes.index(-1)] = math.prod(of) // known
    return sizes if math.prod(sizes) == math.prod(of) and min(sizes, default=1) > 0 else None


def to_shape(x: Tensor, dims: list[int], allow_zero: bool) -> Tensor:
    """ONNX's Reshape: 0 keeps the axis unless zero is allowed."""
    return torch.reshape(x, tuple(x.shape[i] if n == 0 and not allow_zero else n for i, n in enumerate(dims)))


@reads_numbers
def to_computed_shape(x: Tensor, dims: Tensor, allow_zero: bool) -> Tensor:
    """Reshape to a shape known at run time."""
    return to_shape(x, [int(n) for n in dims], allow_zero)


def transpose(build: Builder, node: Node) -> Any:
    return build.call(permute, node.input(0), node.attribute("perm"))


def permute(x: Tensor, order: list[int] | None) -> Tensor:
    """X with its axes in this order, reversed if there is none."""
    return x.permute(order if order is not None else list(reversed(range(x.dim()))))


def squeeze(build: Builder, node: Node) -> Any:
    return build.call(without_ones, node.input(0), node.ints("axes", 1, since=13))


@reads_numbers
def without_ones(x: Tensor, axes: list[int] | Tensor | None) -> Tensor:
    """X without these axes, which must have length one; without all such axes if there are none.

    Raises: ValueError: an axis is longer.
    """
    if axes is None:
        return x.squeeze()
    chosen = tuple(int(a) for a in axes)
    if any(x.shape[a] != 1 for a in chosen):
        raise ValueError(f"axes {chosen} of shape {tuple(x.shape)} are not all of length 1")
    return x.squeeze(chosen)


def unsqueeze(build: Builder, node: Node) -> Any:
    return build.call(with_ones, node.input(0), node.ints("axes", 1, since=13))


@reads_numbers
def with_ones(x: Tensor, axes: list[int] | Tensor) -> Tensor:
    """X with axes of length one at these places of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(int(a) % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def concat(build: Builder, node: Node) -> Any:
    return build.call(torch.cat, tuple(node.inputs), node.attribute("axis", 1))


def split(build: Builder, node: Node) -> Any:
    sizes, axis = node.ints("split", 1, since=13), node.attribute("axis", 0)
    count = len(node.output_names)
    return build.outputs(build.call(parts_of, node.input(0), sizes, count, axis), count)


@reads_numbers
def parts_of(x: Tensor, sizes: list[int] | Tensor | None, count: int, axis: int) -> tuple[Tensor, ...]:
    """X cut along an axis; without sizes into `count` parts of equal length, the last one shorter."""
    return torch.split(x, math.ceil(x.shape[axis] / count) if sizes is None else [int(n) for n in sizes], axis)


def slice_(build: Builder, node: Node) -> Any:
    """Bounds are attributes before opset 10, inputs since."""
    if node.opset >= 10:
        return build.call(cut, *node.inputs)
    bounds = [node.attribute(k) for k in ("starts", "ends", "axes")]
    return build.call(cut, node.input(0), *(None if b is None else torch.tensor(b) for b in bounds))


@reads_numbers
def cut(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """ONNX's Slice; a negative step walks backwards."""
    order = range(len(starts)) if axes is None else [int(a) for a in axes]
    for i, axis in enumerate(order):
        n, step = x.shape[axis], 1 if steps is None else int(steps[i])
        if step > 0:
            begin, end, _ = slice(int(starts[i]), int(ends[i]), step).indices(n)  # exporters write huge ends
            x = x[(slice(None),) * (axis % x.dim()) + (slice(begin, end, step),)]
        else:
            places = range(*_backwards(int(starts[i]), int(ends[i]), n), step)
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
    return x


def _backwards(start: int, end: int, n: int) -> tuple[int, int]:
    """Bounds of a walk with a negative step, held in the axis."""
    start = start + n if start < 0 else start
    end = end + n if end < 0 else end
    return min(max(start, -1), n - 1), min(max(end, -1), n - 1)


def expand(build: Builder, node: Node) -> Any:
    return build.call(broadcast, node.input(0), node.input(1))


@reads_numbers
def broadcast(x: Tensor, shape: Tensor) -> Tensor:
    """X repeated to the common shape of both."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(int(n) for n in shape)))


def tile(build: Builder, node: Node) -> Any:
    return build.call(repeated, node.input(0), node.input(1))


@reads_numbers
def repeated(x: Tensor, times: Tensor) -> Tensor:
    """X side by side so many times along each axis. Raises: ValueError: it would be too large."""
    counts = [int(n) for n in times]
    if x.numel() * math.prod(counts) > LARGEST_CONSTANT:
        raise ValueError(f"{x.numel():,} elements repeated {counts} times are too many")
    return x.repeat(counts)


def pad(build: Builder, node: Node) -> Any:
    """Widths and value are attributes before opset 11, inputs since."""
    mode = node.attribute("mode", "constant")
    if node.opset < 11:
        widths = node.attribute("pads", node.attribute("paddings"))
        return build.call(padded, node.input(0), widths, None, mode, node.attribute("value", 0.0))
    widths, fill, axes = node.ints("", 1, since=0), node.input(2), node.ints("", 3, since=0)
    if isinstance(fill, Tensor):
        fill = fill.item() if fill.numel() else None
    return build.call(padded, node.input(0), widths, axes, mode, 0 if fill is None else fill)


@reads_numbers
def padded(x: Tensor, widths: Any, axes: Any, mode: str, value: Any) -> Tensor:
    """X padded by ONNX's (begins, ends) of these axes, of all if None; negative widths cut.

    Raises: ValueError: it would be too large.
    """
    begins, ends = [0] * x.dim(), [0] * x.dim()
    order = range(x.dim()) if axes is None else [int(a) % x.dim() for a in axes]
    for i, axis in enumerate(order):
        begins[axis], ends[axis] = int(widths[i]), int(widths[len(order) + i])
    if math.prod(n + b + e for n, b, e in zip(x.shape, begins, ends, strict=True)) > LARGEST_CONSTANT * 8:
        raise ValueError(f"padding of {widths} is too large")
    if mode == "constant":
        return F.pad(x, reversed_pairs(begins, ends), mode, float(value) if x.is_floating_point() else int(value))
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin or end:
            x = x.index_select(axis, places_outside(x.shape[axis], begin, end, mode).to(x.device))
    return x


def places_outside(n: int, begin: int, end: int, mode: str) -> Tensor:
    """Where each position of a padded axis of n is read from."""
    places = torch.arange(-begin, n + end)
    if mode == "edge":
        return places.clamp(0, n - 1)
    if mode == "wrap":
        return places % n
    period = max(2 * (n - 1), 1)
    folded = places % period
    return torch.where(folded < n, folded, period - folded)


def depth_to_space(build: Builder, node: Node) -> Any:
    return build.call(unfolded, node.input(0), node.attribute("blocksize"), node.attribute("mode", "DCR"))


def unfolded(x: Tensor, block: int, mode: str) -> Tensor:
    """Channels become positions. Args: x: (N, C, H, W). Returns: (N, C / block^2, H * block, W * block)."""
    n, c, h, w = x.shape
    if mode == "CRD":
        return F.pixel_shuffle(x, block)
    seen = x.reshape(n, block, block, c // block**2, h, w)
    return seen.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)


def space_to_depth(build: Builder, node: Node) -> Any:
    """Mode DCR."""
    return build.call(folded, node.input(0), node.attribute("blocksize"), node.attribute("mode", "DCR"))


def folded(x: Tensor, block: int, mode: str) -> Tensor:
    """Positions become channels: the inverse of unfolded."""
    n, c, h, w = x.shape
    if mode == "CRD":
        return F.pixel_unshuffle(x, block)
    seen = x.reshape(n, c, h // block, block, w // block, block)
    return seen.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)


def trilu(build: Builder, node: Node) -> Any:
    return build.call(triangle, node.input(0), node.input(1), bool(node.attribute("upper", 1)))


@reads_numbers
def triangle(x: Tensor, k: Tensor | None, upper: bool) -> Tensor:
    """X on one side of its k-th diagonal, 0 elsewhere."""
    return (torch.triu if upper else torch.tril)(x, 0 if k is None else int(k))


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": trilu,
    "Unsqueeze": unsqueeze,
}
