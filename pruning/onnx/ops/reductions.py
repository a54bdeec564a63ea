"""Reductions along axes, and what is counted or ordered along one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pruning.onnx.build import Builder, bound, reads_numbers
from pruning.onnx.node import Node, Value

Axes = tuple[int, ...]
Converter = Callable[[Builder, Node], Any]


def reduction(function: Callable[[Tensor, Axes, bool], Tensor], since: int = 18) -> Converter:
    """A converter; axes are an attribute before an opset, an input since; none means all, or nothing if it says so."""

    def convert(build: Builder, node: Node) -> Any:
        axes: Any = node.attribute("axes") if node.opset < since else node.input(1)
        keep, nothing = bool(node.attribute("keepdims", 1)), bool(node.attribute("noop_with_empty_axes", 0))
        if axes is None or isinstance(axes, list | Tensor):
            axes = None if axes is None else tuple(int(a) for a in axes)
        return build.call(bound(reduced, function), node.input(0), axes, keep, nothing)

    return convert


def reduced(
    function: Callable[[Tensor, Axes, bool], Tensor], x: Tensor, axes: Axes | Tensor | None, keep: bool, nothing: bool
) -> Tensor:
    """X reduced along these axes, along all where there are none."""
    order = () if axes is None else tuple(int(a) % x.dim() for a in axes)
    if not order and nothing:
        return function(x, (), True)
    return function(x, order or tuple(range(x.dim())), keep)


def maximum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Of nothing, the lowest number."""
    return _extreme(x, axes, keep, torch.amax, torch.finfo if x.is_floating_point() else torch.iinfo, True)


def minimum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Of nothing, the highest number."""
    return _extreme(x, axes, keep, torch.amin, torch.finfo if x.is_floating_point() else torch.iinfo, False)


def _extreme(x: Tensor, axes: Axes, keep: bool, function: Any, info: Any, largest: bool) -> Tensor:
    if x.numel():
        return function(x, axes, keep) if axes else x
    if x.is_floating_point():
        empty = float("-inf") if largest else float("inf")
    else:
        empty = not largest if x.dtype == torch.bool else (info(x.dtype).min if largest else info(x.dtype).max)
    return torch.full_like(x.sum(axes, keepdim=keep), empty, dtype=x.dtype)


def total(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Sum in the type of x."""
    return x.sum(axes, keepdim=keep, dtype=x.dtype) if axes else x


def mean(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Mean; of integers it is truncated."""
    if not axes:
        return x
    return x.mean(axes, keepdim=keep) if x.is_floating_point() else x.double().mean(axes, keepdim=keep).to(x.dtype)


def product(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Product, one axis after the other."""
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def l1(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Sum of absolute values."""
    return total(x.abs(), axes, keep)


def l2(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Root of the sum of squares."""
    return total(x * x, axes, keep).to(torch.float64).sqrt().to(x.dtype)


def sum_of_squares(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Sum of squares."""
    return total(x * x, axes, keep)


def log_sum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Logarithm of the sum."""
    return total(x, axes, keep).log().to(x.dtype)


def log_sum_exp(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    """Logarithm of the sum of exponentials."""
    return torch.logsumexp(x, axes, keep) if axes else x


def arg_extreme(function: Callable[..., Tensor]) -> Converter:
    """A converter of ArgMax or ArgMin."""

    def convert(build: Builder, node: Node) -> Any:
        axis, keep = node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
        last = bool(node.attribute("select_last_index", 0))
        return build.call(bound(place_of, function), node.input(0), axis, keep, last)

    return convert


def place_of(function: Callable[..., Tensor], x: Tensor, axis: int, keep: bool, last: bool) -> Tensor:
    """Index of the first, or last, extreme along an axis."""
    if last:
        return x.shape[axis] - 1 - function(x.flip(axis), axis, keepdim=keep)
    return function(x, axis, keepdim=keep)


def cumulative(function: Callable[..., Tensor], neutral: int) -> Converter:
    """A converter of CumSum or CumProd."""

    def convert(build: Builder, node: Node) -> Any:
        exclusive, reverse = bool(node.attribute("exclusive", 0)), bool(node.attribute("reverse", 0))
        return build.call(bound(accumulated, function, neutral), *node.inputs, exclusive, reverse)

    return convert


@reads_numbers
def accumulated(
    function: Callable[..., Tensor], neutral: int, x: Tensor, axis: Tensor, exclusive: bool, reverse: bool
) -> Tensor:
    """Running sum or product; exclusive leaves each element's own value out."""
    along = int(axis)
    x = x.flip(along) if reverse else x
    result = function(x, along, dtype=x.dtype)
    if exclusive:
        first = torch.full_like(result.narrow(along, 0, 1), neutral)
        result = torch.cat((first, result.narrow(along, 0, x.shape[along] - 1)), along)
    return result.flip(along) if reverse else result


def top_k(build: Builder, node: Node) -> Any:
    """Before opset 10 k is an attribute."""
    k: Value = torch.tensor([node.attribute("k")]) if node.opset < 10 else node.input(1)
    options = node.attribute("axis", -1), bool(node.attribute("largest", 1))
    return build.outputs(build.call(largest_along, node.input(0), k, *options), 2)


@reads_numbers
def largest_along(x: Tensor, k: Tensor, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) values along an axis in order, and their places; among equals the first."""
    values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, int(k)), places.narrow(axis, 0, int(k))


CONVERTERS: dict[str, Converter] = {
    "ArgMax": arg_extreme(torch.argmax),
    "ArgMin": arg_extreme(torch.argmin),
    "CumProd": cumulative(torch.cumprod, 1),
    "CumSum": cumulative(torch.cumsum, 0),
    "ReduceL1": reduction(l1),
    "ReduceL2": reduction(l2),
    "ReduceLogSum": reduction(log_sum),
    "ReduceLogSumExp": reduction(log_sum_exp),
    "ReduceMax": reduction(maximum),
    "ReduceMean": reduction(mean),
    "ReduceMin": reduction(minimum),
    "ReduceProd": reduction(product),
    "ReduceSum": reduction(total, since=13),
    "ReduceSumSquare": reduction(sum_of_squares),
    "TopK": top_k,
}
