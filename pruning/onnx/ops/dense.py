"""Conv, Gemm and MatMul: the operators whose weights are pruned."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from pruning.onnx.build import Builder, Node, Value
from pruning.onnx.ops.windows import pad_before

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}


def conv(build: Builder, node: Node) -> fx.Node:
    """Conv with a stored weight, 1 to 3 spatial axes, groups and dilations."""
    if not build.is_weight(node.input_names[1]):
        raise node.unsupported("its weight must be stored in the file")
    weight = build.weight(node, 1)
    rank = weight.dim() - 2
    group = node.attribute("group", 1)
    x, padding = pad_before(build, node, node.input(0), tuple(weight.shape[2:]))
    module = CONVOLUTIONS[rank](
        weight.shape[1] * group,
        weight.shape[0],
        kernel_size=tuple(weight.shape[2:]),
        stride=tuple(node.attribute("strides", [1] * rank)),
        padding=padding,
        dilation=tuple(node.attribute("dilations", [1] * rank)),
        groups=group,
        bias=node.input(2) is not None,
        device="meta",
    )
    return _apply(build, node, module, x, weight)


def gemm(build: Builder, node: Node) -> fx.Node:
    """Gemm with a stored B becomes nn.Linear; C may be a vector or left out."""
    if node.attribute("transA", 0) or node.attribute("alpha", 1.0) != 1.0 or node.attribute("beta", 1.0) != 1.0:
        raise node.unsupported("only transA = 0 and alpha = beta = 1 are supported")
    if not build.is_weight(node.input_names[1]):
        raise node.unsupported("B must be stored in the file")
    weight = build.weight(node, 1, transposed=not node.attribute("transB", 0))
    C = node.constant(2)
    if C is not None and (C.shape != (weight.shape[0],) or not build.is_weight(node.input_names[2])):
        raise node.unsupported(f"C of shape {tuple(C.shape)} is not a stored vector of {weight.shape[0]} biases")
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=C is not None, device="meta")
    return _apply(build, node, module, node.input(0), weight)


def matmul(build: Builder, node: Node) -> Any:
    """MatMul by a stored matrix becomes nn.Linear without bias; other products stay as they are."""
    right = node.input(1)
    is_layer = isinstance(node.input(0), fx.Node) and build.is_weight(node.input_names[1])
    if not is_layer or not isinstance(right, torch.Tensor) or right.dim() != 2:
        return build.call(torch.matmul, *node.inputs)
    weight = build.weight(node, 1, transposed=True)
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    return _apply(build, node, module, node.input(0), weight)


def _apply(build: Builder, node: Node, module: nn.Module, x: Value, weight: nn.Parameter) -> fx.Node:
    """The module, made without memory of its own, takes the file's tensors as its parameters."""
    module.register_parameter("weight", weight)
    if node.input(2) is not None:
        module.register_parameter("bias", build.weight(node, 2))
    result = build.module(node, module, x)
    if node.input(2) is not None:
        build.bias_of[str(result.target)] = f"{result.target}.bias"
    build.layer_of[str(result.target)] = (node.input_names[1], node.name)
    return result
