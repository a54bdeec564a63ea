"""Add, Sub, Mul, Div."""

import torch
from torch import Tensor, fx, nn

from pruning.onnx.build import Builder, Node, Value

BIASED = ("Conv", "MatMul", "Gemm")


def add(build: Builder, node: Node) -> Value:
    """Add; a stored vector added to a layer's output is its bias, and is trained."""
    bias = next((i for i in (0, 1) if _is_bias(build, node, i)), None)
    if bias is None:
        return build.call(torch.add, *node.inputs)
    name = f"bias_{len(build.parameters)}"
    build.root.register_parameter(name, build.weight(node, bias))
    layer = str(getattr(node.input(1 - bias), "target", ""))
    if layer in build.layer_of and _is_by_channel(build.root.get_submodule(layer), build.root.get_parameter(name)):
        build.bias_of[layer] = name
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


def _is_by_channel(layer: nn.Module, bias: Tensor) -> bool:
    """One value for each filter or neuron: (C, 1, 1) after a 2-D convolution, (out,) after a product."""
    weight = layer.get_parameter("weight")
    axis = -1 if weight.dim() == 2 else 1 - weight.dim()
    return bias.dim() >= -axis and bias.shape[axis] == bias.numel() == weight.shape[0]


def _is_bias(build: Builder, node: Node, i: int) -> bool:
    name, other = node.input_names[i], node.input(1 - i)
    from_layer = isinstance(other, fx.Node) and str(other.target).startswith(BIASED) and other.op == "call_module"
    return from_layer and build.is_weight(name) and isinstance(node.input(i), Tensor) and node.inputs[i].numel() > 1  # type: ignore[union-attr]
