"""Comparisons, logic, and choices."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pruning.onnx.build import Builder
from pruning.onnx.node import Node
from pruning.onnx.ops.arithmetic import Converter, pointwise


def is_inf(build: Builder, node: Node) -> Any:
    negative, positive = node.attribute("detect_negative", 1), node.attribute("detect_positive", 1)
    return build.call(infinite, node.input(0), bool(negative), bool(positive))


def infinite(x: Tensor, negative: bool, positive: bool) -> Tensor:
    """Where x is one of the infinities asked for."""
    return (torch.isneginf(x) & negative) | (torch.isposinf(x) & positive)


BINARY: dict[str, Callable[..., Tensor]] = {
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseNot": torch.bitwise_not,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "IsNaN": torch.isnan,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Where": torch.where,
    "Xor": torch.logical_xor,
}

CONVERTERS: dict[str, Converter] = {**{op: pointwise(f) for op, f in BINARY.items()}, "IsInf": is_inf}
