"""Pooling over windows, and over all positions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pruning.onnx.build import Builder, bound
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


@dataclass(frozen=True)
class Window:
    """What slides over the spatial axes, and how."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    mode: str
    ceil: bool

    @classmethod
    def of(cls, node: Node) -> "Window":
        """From a node's attributes. Raises: UnsupportedOperator: more than three spatial axes."""
        kernel = _kernel(node)
        ones, zeros = [1] * len(kernel), [0] * (2 * len(kernel))
        return cls(
            kernel,
            tuple(node.attribute("strides", ones)),
            tuple(node.attribute("dilations", ones)),
            tuple(node.attribute("pads", zeros)),
            node.attribute("auto_pad", "NOTSET"),
            bool(node.attribute("ceil_mode", 0)),
        )

    def padding(self, x: Tensor) -> tuple[list[int], list[int]]:
        """Of x, at the begin and at the end of each axis."""
        rank = len(self.kernel)
        if self.mode.startswith("SAME"):
            return same_padding(x.shape[2:], self.kernel, self.strides, self.dilations, self.mode == "SAME_LOWER")
        zeros = [0] * rank
        return (zeros, zeros) if self.mode == "VALID" else (list(self.pads[:rank]), list(self.pads[rank:]))

    def extra(self, x: Tensor) -> list[int]:
        """Positions behind the padding that ceil_mode's last window needs; one that begins there is left out."""
        found = []
        per_axis = zip(x.shape[2:], self.kernel, self.strides, self.dilations, *self.padding(x), strict=True)
        for n, k, s, d, b, e in per_axis:
            span = n + b + e - ((k - 1) * d + 1)
            windows = math.ceil(span / s) + 1
            windows -= (windows - 1) * s >= n + b
            found.append(max((windows - 1) * s - span, 0) if self.ceil else 0)
        return found

    def sums(self, x: Tensor, counted: float = 0.0) -> Tensor:
        """Sums over windows of x, whose padding holds the value `counted`. Returns: (N, C, ...)."""
        begins, ends = self.padding(x)
        whole = F.pad(x, reversed_pairs(begins, ends), value=counted)
        whole = F.pad(whole, reversed_pairs([0] * len(self.kernel), self.extra(x)))
        ones = torch.ones((1, 1, *self.kernel), dtype=x.dtype, device=x.device)
        flat = whole.reshape(-1, 1, *whole.shape[2:])
        found = CONV[len(self.kernel)](flat, ones, stride=self.strides, dilation=self.dilations)
        return found.reshape(*x.shape[:2], *found.shape[2:])


def average_pool(build: Builder, node: Node) -> Any:
    """1 to 3 spatial axes."""
    window, include = Window.of(node), bool(node.attribute("count_include_pad", 0))
    rank, pads = len(window.kernel), window.pads
    narrow = all(2 * p <= k for p, k in zip(pads, window.kernel * 2, strict=True))
    if window.mode == "NOTSET" and pads[:rank] == pads[rank:] and set(window.dilations) == {1} and narrow:
        settings = window.kernel, window.strides, pads[:rank], window.ceil, include
        return build.call(AVERAGE[rank], node.input(0), *settings)
    return build.call(bound(averaged, window, include), node.input(0))


def averaged(window: Window, include: bool, x: Tensor) -> Tensor:
    """Sums over windows, divided by the number of positions that count: in x, or in x and its padding."""
    positions = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    return window.sums(x) / window.sums(positions, counted=float(include))


def lp_pool(build: Builder, node: Node) -> Any:
    """1 to 3 spatial axes."""
    return build.call(bound(normed, Window.of(node), node.attribute("p", 2)), node.input(0))


def normed(window: Window, p: int, x: Tensor) -> Tensor:
    """The p-norm of each window."""
    return window.sums(x.abs() ** p) ** (1 / p)


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


CONVERTERS = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}
