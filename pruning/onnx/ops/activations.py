"""Pointwise activations, Clip, Softmax and LogSoftmax."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pruning.onnx.build import Builder, Node


def relu(build: Builder, node: Node) -> Any:
    """Relu."""
    return build.call(F.relu, node.input(0))


def sigmoid(build: Builder, node: Node) -> Any:
    """Sigmoid."""
    return build.call(torch.sigmoid, node.input(0))


def tanh(build: Builder, node: Node) -> Any:
    """Tanh."""
    return build.call(torch.tanh, node.input(0))


def leaky_relu(build: Builder, node: Node) -> Any:
    """LeakyRelu."""
    return build.call(F.leaky_relu, node.input(0), node.attribute("alpha", 0.01))


def clip(build: Builder, node: Node) -> Any:
    """Clip: bounds are attributes before opset 11, constant inputs since."""
    low, high = (
        (node.attribute("min"), node.attribute("max")) if node.opset < 11 else (node.constant(1), node.constant(2))
    )
    low, high = (None if v is None else float(v) for v in (low, high))
    return build.call(torch.clamp, node.input(0), low, high)


def softmax(build: Builder, node: Node) -> Any:
    """Softmax; before opset 13 over all axes from `axis` on."""
    if node.opset < 13:
        return build.call(softmax_from, node.input(0), node.attribute("axis", 1), False)
    return build.call(torch.softmax, node.input(0), node.attribute("axis", -1))


def log_softmax(build: Builder, node: Node) -> Any:
    """LogSoftmax; before opset 13 over all axes from `axis` on."""
    if node.opset < 13:
        return build.call(softmax_from, node.input(0), node.attribute("axis", 1), True)
    return build.call(torch.log_softmax, node.input(0), node.attribute("axis", -1))


def softmax_from(x: Tensor, axis: int, log: bool) -> Tensor:
    """Softmax of opsets before 13: x seen as a matrix cut at `axis`."""
    flat = x.flatten(axis % x.dim())
    return (torch.log_softmax(flat, -1) if log else torch.softmax(flat, -1)).reshape(x.shape)
