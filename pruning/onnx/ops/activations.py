"""Activations, Clip, Softmax and its kin."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pruning.onnx.build import Builder
from pruning.onnx.node import Node


def relu(build: Builder, node: Node) -> Any:
    return build.call(torch.relu, node.input(0))


def sigmoid(build: Builder, node: Node) -> Any:
    return build.call(torch.sigmoid, node.input(0))


def tanh(build: Builder, node: Node) -> Any:
    return build.call(torch.tanh, node.input(0))


def leaky_relu(build: Builder, node: Node) -> Any:
    return build.call(F.leaky_relu, node.input(0), node.attribute("alpha", 0.01))


def prelu(build: Builder, node: Node) -> Any:
    """A stored slope is trained."""
    return build.call(sloped, node.input(0), build.read(node, 1))


def sloped(x: Tensor, slope: Tensor) -> Tensor:
    """x, times slope where it is negative; slope is broadcast from the last axis, a vector by channel to axis 1."""
    if slope.dim() == 1 < x.dim() and slope.numel() == x.shape[1] != x.shape[-1]:
        slope = slope.reshape(-1, *[1] * (x.dim() - 2))
    return torch.where(x < 0, x * slope, x)


def elu(build: Builder, node: Node) -> Any:
    return build.call(F.elu, node.input(0), node.attribute("alpha", 1.0))


def selu(build: Builder, node: Node) -> Any:
    alpha, gamma = node.attribute("alpha", 1.6732631921768188), node.attribute("gamma", 1.0507010221481323)
    return build.call(scaled_elu, node.input(0), alpha, gamma)


def scaled_elu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    """Gamma * elu(x)."""
    return gamma * F.elu(x, alpha)


def celu(build: Builder, node: Node) -> Any:
    return build.call(F.celu, node.input(0), node.attribute("alpha", 1.0))


def hard_sigmoid(build: Builder, node: Node) -> Any:
    return build.call(clamped_line, node.input(0), node.attribute("alpha", 0.2), node.attribute("beta", 0.5))


def clamped_line(x: Tensor, alpha: float, beta: float) -> Tensor:
    """Alpha * x + beta, held in [0, 1]."""
    return torch.clamp(alpha * x + beta, 0, 1)


def hard_swish(build: Builder, node: Node) -> Any:
    return build.call(F.hardswish, node.input(0))


def gelu(build: Builder, node: Node) -> Any:
    return build.call(F.gelu, node.input(0), approximate=node.attribute("approximate", "none"))


def swish(build: Builder, node: Node) -> Any:
    return build.call(gated, node.input(0), node.attribute("alpha", 1.0))


def gated(x: Tensor, alpha: float) -> Tensor:
    """X * sigmoid(alpha * x)."""
    return x * torch.sigmoid(alpha * x)


def softplus(build: Builder, node: Node) -> Any:
    return build.call(F.softplus, node.input(0))


def softsign(build: Builder, node: Node) -> Any:
    return build.call(F.softsign, node.input(0))


def mish(build: Builder, node: Node) -> Any:
    return build.call(F.mish, node.input(0))


def thresholded_relu(build: Builder, node: Node) -> Any:
    return build.call(F.threshold, node.input(0), node.attribute("alpha", 1.0), 0.0)


def shrink(build: Builder, node: Node) -> Any:
    return build.call(shrunk, node.input(0), node.attribute("lambd", 0.5), node.attribute("bias", 0.0))


def shrunk(x: Tensor, limit: float, bias: float) -> Tensor:
    """X brought towards 0 by bias; 0 within the limit."""
    moved = torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, torch.zeros_like(x)))
    return moved.to(x.dtype)


def clip(build: Builder, node: Node) -> Any:
    """Bounds are attributes before opset 11, inputs since."""
    if node.opset < 11:
        return build.call(clamped, node.input(0), node.attribute("min"), node.attribute("max"))
    return build.call(clamped, node.input(0), _number(node, 1), _number(node, 2))


def _number(node: Node, i: int) -> Any:
    value = node.input(i)
    return value.item() if isinstance(value, Tensor) else value


def clamped(x: Tensor, low: Any, high: Any) -> Tensor:
    """X held in [low, high]; where low > high all of it is high."""
    if isinstance(low, float) and isinstance(high, float) and low < high and x.is_floating_point():
        return F.hardtanh(x, low, high)  # the backward pass of torch.clamp takes several times as long
    x = x if low is None else torch.clamp(x, min=low)
    return x if high is None else torch.clamp(x, max=high)


def softmax(build: Builder, node: Node) -> Any:
    """Before opset 13 over all axes from `axis` on."""
    if node.opset < 13:
        return build.call(softmax_from, node.input(0), node.attribute("axis", 1), False)
    return build.call(torch.softmax, node.input(0), node.attribute("axis", -1))


def log_softmax(build: Builder, node: Node) -> Any:
    """Before opset 13 over all axes from `axis` on."""
    if node.opset < 13:
        return build.call(softmax_from, node.input(0), node.attribute("axis", 1), True)
    return build.call(torch.log_softmax, node.input(0), node.attribute("axis", -1))


def softmax_from(x: Tensor, axis: int, log: bool) -> Tensor:
    """Softmax of opsets before 13: x seen as a matrix cut at `axis`."""
    flat = x.flatten(axis % x.dim())
    return (torch.log_softmax(flat, -1) if log else torch.softmax(flat, -1)).reshape(x.shape)


def hardmax(build: Builder, node: Node) -> Any:
    """Before opset 13 over all axes from `axis` on."""
    axis = node.attribute("axis", 1 if node.opset < 13 else -1)
    return build.call(one_at_largest, node.input(0), axis, node.opset < 13)


def one_at_largest(x: Tensor, axis: int, flat: bool) -> Tensor:
    """1 at the first largest value along an axis (or from that axis on), 0 elsewhere."""
    seen = x.flatten(axis % x.dim()) if flat else x.movedim(axis, -1)
    first = F.one_hot(seen.argmax(-1), seen.shape[-1]).to(x.dtype)
    return first.reshape(x.shape) if flat else first.movedim(-1, axis)


def erf(build: Builder, node: Node) -> Any:
    return build.call(torch.erf, node.input(0))


CONVERTERS = {
    "Celu": celu,
    "Clip": clip,
    "Elu": elu,
    "Erf": erf,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Hardmax": hardmax,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": log_softmax,
    "Mish": mish,
    "PRelu": prelu,
    "Relu": relu,
    "Selu": selu,
    "Shrink": shrink,
    "Sigmoid": sigmoid,
    "Softmax": softmax,
    "Softplus": softplus,
    "Softsign": softsign,
    "Swish": swish,
    "Tanh": tanh,
    "ThresholdedRelu": thresholded_relu,
}
