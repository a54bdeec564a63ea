"""MaxPool, AveragePool, GlobalAveragePool."""

from torch import Tensor, fx, nn
from torch.nn import functional as F

from pruning.onnx.build import Builder, Node
from pruning.onnx.ops.windows import pad_before

MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool(build: Builder, node: Node) -> fx.Node:
    """MaxPool without the Indices output."""
    kernel = tuple(node.attribute("kernel_shape"))
    ceil = bool(node.attribute("ceil_mode", 0))
    x, padding = pad_before(build, node, node.input(0), kernel, fill=float("-inf"))
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise node.unsupported("padding of more than half the window is not supported")
    strides = tuple(node.attribute("strides", [1] * len(kernel)))
    dilations = tuple(node.attribute("dilations", [1] * len(kernel)))
    return build.module(node, MAX[len(kernel)](kernel, strides, padding, dilations, ceil_mode=ceil), x)


def average_pool(build: Builder, node: Node) -> fx.Node:
    """AveragePool; without count_include_pad only symmetric padding."""
    kernel = tuple(node.attribute("kernel_shape"))
    include = bool(node.attribute("count_include_pad", 0))
    if set(node.attribute("dilations", [1])) != {1}:
        raise node.unsupported("dilations are not supported")
    x, padding = pad_before(build, node, node.input(0), kernel)
    if x is not node.input(0) and not include:
        raise node.unsupported("asymmetric padding that is left out of the mean is not supported")
    strides = tuple(node.attribute("strides", [1] * len(kernel)))
    ceil = bool(node.attribute("ceil_mode", 0))
    return build.call(AVERAGE[len(kernel)], x, kernel, strides, padding, ceil, include)


def global_average_pool(build: Builder, node: Node) -> fx.Node:
    """GlobalAveragePool: the mean over all spatial axes, kept as ones."""
    return build.call(mean_of_positions, node.input(0))


def mean_of_positions(x: Tensor) -> Tensor:
    """Args: x: (N, C, ...). Returns: (N, C, 1, ...)."""
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)
