"""Between numbers and their quantized levels, int8 and uint8."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pruning.onnx.build import Builder
from pruning.onnx.dtypes import dtype_of
from pruning.onnx.node import Node

RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767)}


def quantize_linear(build: Builder, node: Node) -> Any:
    """To int8, uint8 or int16; per tensor, per axis or in blocks."""
    zero, given = node.input(2), node.attribute("output_dtype", 0)
    dtype = dtype_of(given) if given else zero.dtype if isinstance(zero, Tensor) else torch.uint8
    if dtype not in RANGES:
        raise node.unsupported("only int8, uint8 and int16 are supported")
    if zero is not None and not isinstance(zero, Tensor) and not given:
        raise node.unsupported("its zero point must be constant")
    axis, block = node.attribute("axis", 1), node.attribute("block_size", 0)
    return build.call(quantized, *node.inputs[:2], zero, dtype, axis, block)


def quantized(x: Tensor, scale: Tensor, zero: Tensor | None, dtype: torch.dtype, axis: int, block: int) -> Tensor:
    """round(x / scale) + zero, held in the range of the type; halves go to even."""
    levels = torch.round(x / along(scale, x, axis, block))
    if zero is not None:
        levels = levels + along(zero, x, axis, block).to(x.dtype)
    return torch.clamp(levels, *RANGES[dtype]).to(dtype)


def dequantize_linear(build: Builder, node: Node) -> Any:
    """From int8, uint8, int16 or int32; per tensor, per axis or in blocks."""
    axis, block = node.attribute("axis", 1), node.attribute("block_size", 0)
    return build.call(dequantized, node.input(0), node.input(1), node.input(2), axis, block)


def dequantized(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, block: int) -> Tensor:
    """(x - zero) * scale."""
    wide = x.to(scale.dtype) if zero is None else x.to(scale.dtype) - along(zero, x, axis, block).to(scale.dtype)
    return wide * along(scale, x, axis, block)


def along(values: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """Values in a shape that meets x: one, one for each place of an axis, or one for each block of it."""
    if values.numel() == 1:
        return values.reshape(())
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return values.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {
    "DequantizeLinear": dequantize_linear,
    "QuantizeLinear": quantize_linear,
}
