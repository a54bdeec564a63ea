"""Control flow that folds away."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pruning.onnx.build import Builder
from pruning.onnx.node import Node


def if_(build: Builder, node: Node) -> Any:
    """The condition must be constant: the branch that it chooses takes the operator's place."""
    condition = node.input(0)
    if not isinstance(condition, Tensor):
        raise node.unsupported("its condition is computed from the model's input; export the branch that is meant")
    return build.inline(node.attribute("then_branch" if bool(condition) else "else_branch"))


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {"If": if_}
