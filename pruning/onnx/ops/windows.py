"""Padding of sliding windows: convolution and pooling."""

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from pruning.onnx.build import Builder
from pruning.onnx.node import Node, Value


def pad_before(
    build: Builder, node: Node, x: Value, kernel: Sequence[int], fill: float = 0.0
) -> tuple[Value, tuple[int, ...]]:
    """X and the padding that the torch operator itself can do: equal on both sides of an axis.

    Anything else (asymmetric, SAME_UPPER, SAME_LOWER) is padded explicitly before it.
    """
    rank = len(kernel)
    pads = node.attribute("pads", [0] * (2 * rank))
    mode = node.attribute("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        strides = tuple(node.attribute("strides", [1] * rank))
        dilations = tuple(node.attribute("dilations", [1] * rank))
        return build.call(pad_same, x, tuple(kernel), strides, dilations, mode == "SAME_LOWER", fill), (0,) * rank
    if mode == "VALID":
        return x, (0,) * rank
    if pads[:rank] == pads[rank:]:
        return x, tuple(pads[:rank])
    return build.call(F.pad, x, reversed_pairs(pads[:rank], pads[rank:]), "constant", fill), (0,) * rank


def pad_same(
    x: Tensor, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], lower: bool, fill: float
) -> Tensor:
    """X with the padding of same_padding."""
    begins, ends = same_padding(x.shape[2:], kernel, strides, dilations, lower)
    return F.pad(x, reversed_pairs(begins, ends), "constant", fill)


def same_padding(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], lower: bool
) -> tuple[list[int], list[int]]:
    """Padding by which the output has ceil(input / stride) positions; the odd one goes to the end, or to the start."""
    begins, ends = [], []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        begins.append(total - total // 2 if lower else total // 2)
        ends.append(total - begins[-1])
    return begins, ends


def reversed_pairs(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """ONNX's (begins, ends) in the order of torch's pad: last axis first."""
    return [n for pair in reversed(list(zip(begins, ends, strict=True))) for n in pair]
