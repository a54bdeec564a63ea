"""Add, Sub, Mul, Div."""

import torch
from torch import Tensor, fx

from pruning.onnx.build import Builder, Node, Value

BIASED = ("Conv", "MatMul", "Gemm")


def add(build: Builder, node: Node) -> Value:
    """Add; a stored vector added to a layer's output is its bias, and is trained."""
    bias = next((i for i in (0, 1) if _is_bias(build, node, i)), None)
    if bias is None:
        return build.call(torch.add, *node.inputs)
    name = f"bias_{len(build.parameters)}"
    build.root.register_parameter(name, build.weight(node, bias))
    build.bias_of[str(getattr(node.input(1 - bias), "target", ""))] = name
    return build.call(torch.add, node.input(1 - bias), build.graph.get_attr(name))


def sub(build: Builder, node: Node) -> Value:
    """Sub."""
    return build.call(torch.sub, *node.inputs)


def mul(build: Builder, node: Node) -> Value:
    """Mul."""
    return build.call(torch.mul, *node.inputs)


def div(build: Builder, node: Node) -> Value:
    """Div; integers are divided towards zero, as ONNX does."""
    return build.call(divide, *node.inputs)


def divide(a: Tensor, b: Tensor) -> Tensor:
    """A / b, truncated for integers."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _is_bias(build: Builder, node: Node, i: int) -> bool:
    name, other = node.input_names[i], node.input(1 - i)
    from_layer = isinstance(other, fx.Node) and str(other.target).startswith(BIASED) and other.op == "call_module"
    return from_layer and build.is_weight(name) and isinstance(node.input(i), Tensor) and node.inputs[i].numel() > 1  # type: ignore[union-attr]
