"""ReduceMean."""

from typing import Any

from torch import Tensor

from pruning.onnx.build import Builder, Node


def reduce_mean(build: Builder, node: Node) -> Any:
    """ReduceMean: axes are an attribute before opset 18, a constant input since; none means all."""
    axes = node.attribute("axes") if node.opset < 18 else node.constant(1)
    axes = tuple(int(a) for a in axes) if axes is not None else None
    return build.call(mean, node.input(0), axes, bool(node.attribute("keepdims", 1)))


def mean(x: Tensor, axes: tuple[int, ...] | None, keepdim: bool) -> Tensor:
    """Mean over axes, over all if None."""
    return x.mean(dim=axes or tuple(range(x.dim())), keepdim=keepdim)
