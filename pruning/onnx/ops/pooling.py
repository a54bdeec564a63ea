"""Pooling over windows, and over all positions."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pruning.onnx.build import Builder
from pruning.onnx.node import Node
from pruning.onnx.ops.windows import pad_before, reversed_pairs, same_padding

MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def max_pool(build: Builder, node: Node) -> Any:
    """1 to 3 spatial axes, floating-point numbers; without the Indices output."""
    kernel = _kernel(node)
    if node.gives(1):
        raise node.unsupported("the Indices output is not supported")
    ceil = bool(node.attribute("ceil_mode", 0))
    x, padding = pad_before(build, node, node.input(0), kernel, fill=float("-inf"))
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        pads = reversed_pairs(padding, padding)
        x, padding = build.call(F.pad, x, pads, "constant", float("-inf")), (0,) * len(kernel)
    strides = tuple(node.attribute("strides", [1] * len(kernel)))
    dilations = tuple(node.attribute("dilations", [1] * len(kernel)))
    return build.module(node, MAX[len(kernel)](kernel, strides, padding, dilations, ceil_mode=ceil), x)


def average_pool(build: Builder, node: Node) -> Any:
    """1 to 3 spatial axes."""
    kernel = _kernel(node)
    include, ceil = bool(node.attribute("count_include_pad", 0)), bool(node.attribute("ceil_mode", 0))
    rank, pads, mode, strides, dilations = _sliding(node, kernel)
    narrow = all(2 * p <= k for p, k in zip(pads, kernel * 2, strict=True))
    if mode == "NOTSET" and pads[:rank] == pads[rank:] and set(dilations) == {1} and narrow:
        return build.call(AVERAGE[rank], node.input(0), kernel, strides, tuple(pads[:rank]), ceil, include)
    return build.call(averaged, node.input(0), kernel, strides, dilations, pads, mode, ceil, include)


def averaged(
    x: Tensor,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: list[int],
    mode: str,
    ceil: bool,
    include: bool,
) -> Tensor:
    """Sums over windows, divided by the number of positions that count: in x, or in x and its padding."""
    begins, ends = _padding(x, kernel, strides, dilations, pads, mode)
    extra = _extra(x, kernel, strides, dilations, begins, ends) if ceil else [0] * len(kernel)
    counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    if include:
        counted = F.pad(counted, reversed_pairs(begins, ends), value=1.0)
    else:
        counted = F.pad(counted, reversed_pairs(begins, ends))
    counted = F.pad(counted, reversed_pairs([0] * len(extra), extra))
    whole = F.pad(x, reversed_pairs(begins, [e + m for e, m in zip(ends, extra, strict=True)]))
    return window_sums(whole, kernel, strides, dilations) / window_sums(counted, kernel, strides, dilations)


def window_sums(x: Tensor, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Tensor:
    """Sums over windows. Args: x: (N, C, ...), padded. Returns: (N, C, ...)."""
    flat = x.reshape(-1, 1, *x.shape[2:])
    ones = torch.ones((1, 1, *kernel), dtype=x.dtype, device=x.device)
    sums = CONV[len(kernel)](flat, ones, stride=strides, dilation=dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def lp_pool(build: Builder, node: Node) -> Any:
    """1 to 3 spatial axes."""
    kernel = _kernel(node)
    _, pads, mode, strides, dilations = _sliding(node, kernel)
    ceil, p = bool(node.attribute("ceil_mode", 0)), node.attribute("p", 2)
    return build.call(normed, node.input(0), kernel, strides, dilations, pads, mode, ceil, p)


def normed(
    x: Tensor,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: list[int],
    mode: str,
    ceil: bool,
    p: int,
) -> Tensor:
    """The p-norm of each window."""
    begins, ends = _padding(x, kernel, strides, dilations, pads, mode)
    extra = _extra(x, kernel, strides, dilations, begins, ends) if ceil else [0] * len(kernel)
    whole = F.pad(x.abs() ** p, reversed_pairs(begins, [e + m for e, m in zip(ends, extra, strict=True)]))
    return window_sums(whole, kernel, strides, dilations) ** (1 / p)


def global_average_pool(build: Builder, node: Node) -> Any:
    return build.call(mean_of_positions, node.input(0))


def mean_of_positions(x: Tensor) -> Tensor:
    """Args: x: (N, C, ...). Returns: (N, C, 1, ...)."""
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(build: Builder, node: Node) -> Any:
    return build.call(largest_of_positions, node.input(0))


def largest_of_positions(x: Tensor) -> Tensor:
    """Args: x: (N, C, ...). Returns: (N, C, 1, ...)."""
    return x.amax(dim=tuple(range(2, x.dim())), keepdim=True)


def _kernel(node: Node) -> tuple[int, ...]:
    kernel = tuple(node.attribute("kernel_shape"))
    if len(kernel) not in MAX:
        raise node.unsupported(f"{len(kernel)} spatial axes are not supported; 1 to 3 are")
    return kernel


def _sliding(node: Node, kernel: tuple[int, ...]) -> tuple[int, list[int], str, tuple[int, ...], tuple[int, ...]]:
    rank = len(kernel)
    strides = tuple(node.attribute("strides", [1] * rank))
    dilations = tuple(node.attribute("dilations", [1] * rank))
    return rank, node.attribute("pads", [0] * (2 * rank)), node.attribute("auto_pad", "NOTSET"), strides, dilations


def _padding(
    x: Tensor, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], pads: list[int], mode: str
) -> tuple[list[int], list[int]]:
    if mode.startswith("SAME"):
        return same_padding(x.shape[2:], kernel, strides, dilations, mode == "SAME_LOWER")
    rank = len(kernel)
    return ([0] * rank, [0] * rank) if mode == "VALID" else (list(pads[:rank]), list(pads[rank:]))


def _extra(
    x: Tensor,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    begins: list[int],
    ends: list[int],
) -> list[int]:
    """Positions behind the padding that ceil_mode's last window needs; a window that would begin there is left out."""
    found = []
    for n, k, s, d, b, e in zip(x.shape[2:], kernel, strides, dilations, begins, ends, strict=True):
        span = n + b + e - ((k - 1) * d + 1)
        windows = math.ceil(span / s) + 1
        windows -= (windows - 1) * s >= n + b
        found.append(max((windows - 1) * s - span, 0))
    return found


CONVERTERS = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}
