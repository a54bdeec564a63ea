"""Arithmetic: of one value, of two, of any number of them."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

from pruning.onnx.build import Builder
from pruning.onnx.node import Node, Value

BIASED = ("Conv_", "MatMul_", "Gemm_")
Converter = Callable[[Builder, Node], Any]


def pointwise(function: Callable[..., Tensor]) -> Converter:
    """A converter of an operator that is one torch function of its inputs."""

    def convert(build: Builder, node: Node) -> Any:
        return build.call(function, *node.inputs)

    return convert


def variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Converter:
    """A converter of an operator that folds any number of inputs."""

    def convert(build: Builder, node: Node) -> Any:
        return reduce(lambda a, b: build.call(function, a, b), node.inputs)

    return convert


def add(build: Builder, node: Node) -> Value:
    """A stored vector added to a layer's output is its bias, and is trained."""
    side = next((i for i in (0, 1) if _layer_before(build, node, i) is not None), None)
    parameter = None if side is None else build.weight(node, side)
    if side is None or parameter is None:
        return build.call(torch.add, *(v if i != side else build.read(node, i) for i, v in enumerate(node.inputs)))
    name = build.name_of(parameter)
    weight = _layer_before(build, node, side) or ""
    if _is_by_channel(build.root.get_parameter(weight), parameter):
        build.bias_of.setdefault(weight, name)
    return build.call(torch.add, node.input(1 - side), build.graph.get_attr(name))


def _layer_before(build: Builder, node: Node, i: int) -> str | None:
    """Name of the weight of the layer whose output meets the stored vector that is the i-th input."""
    value, other = node.input(i), node.input(1 - i)
    if not isinstance(value, Tensor) or value.dim() == 0 or not build.is_weight(node.input_names[i]):
        return None
    if not isinstance(other, fx.Node) or other.op != "call_module" or not str(other.target).startswith(BIASED):
        return None
    matrix = build.root.get_submodule(str(other.target)).get_parameter("weight")
    is_number = value.numel() == 1 and not _is_by_channel(matrix, value)
    return None if is_number or id(matrix) not in build.names else build.names[id(matrix)]


def _is_by_channel(weight: Tensor, bias: Tensor) -> bool:
    """One value for each filter or neuron: (C, 1, 1) after a 2-D convolution, (out,) after a product."""
    axis = -1 if weight.dim() == 2 else 1 - weight.dim()
    return bias.dim() >= -axis and bias.shape[axis] == bias.numel() == weight.shape[0]


def div(build: Builder, node: Node) -> Any:
    """Integers are not divided by 0 or -1."""
    divisor = node.input(1)
    if isinstance(divisor, Tensor) and not divisor.is_floating_point():
        safe_divisor(divisor)
    return build.call(divide, *node.inputs)


def divide(a: Tensor, b: Tensor) -> Tensor:
    """A / b, truncated for integers."""
    if a.is_floating_point():
        return a / b
    return torch.div(a, safe_divisor(b), rounding_mode="trunc")


def safe_divisor(b: Tensor) -> Tensor:
    """Of integers. Raises: ZeroDivisionError: it holds 0, or -1, with which the lowest number stops the process."""
    if bool(((b == 0) | (b == -1)).any()):
        raise ZeroDivisionError("integers are divided by 0 or -1")
    return b


def power(a: Tensor, b: Tensor) -> Tensor:
    """A ** b in the type of a."""
    return torch.pow(a, b).to(a.dtype)


def mod(build: Builder, node: Node) -> Any:
    """Integers are not divided by 0 or -1."""
    return build.call(remainder, *node.inputs, bool(node.attribute("fmod", 0)))


def remainder(a: Tensor, b: Tensor, of_dividend: bool) -> Tensor:
    """What a division leaves, with the sign of the divisor or of the dividend."""
    b = b if b.is_floating_point() else safe_divisor(b)
    return torch.fmod(a, b) if of_dividend else torch.remainder(a, b)


def mean(build: Builder, node: Node) -> Any:
    total = reduce(lambda a, b: build.call(torch.add, a, b), node.inputs)
    return build.call(torch.div, total, len(node.inputs))


def bit_shift(build: Builder, node: Node) -> Any:
    left = node.attribute("direction") == "LEFT"
    return build.call(torch.bitwise_left_shift if left else torch.bitwise_right_shift, *node.inputs)


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Det": torch.det,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Log": torch.log,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}

CONVERTERS: dict[str, Converter] = {
    **{op: pointwise(function) for op, function in UNARY.items()},
    "Add": add,
    "BitShift": bit_shift,
    "Div": div,
    "Max": variadic(torch.maximum),
    "Mean": mean,
    "Min": variadic(torch.minimum),
    "Mod": mod,
    "Mul": pointwise(torch.mul),
    "Pow": pointwise(power),
    "Sub": pointwise(torch.sub),
    "Sum": variadic(torch.add),
}
