"""Shapes of a graph's values while it is being built."""

from typing import Any

import torch
from torch import Tensor, fx, nn

LARGE = 2**16  # elements from which on only the shape of a value is kept


class Probe:
    """Runs the graph as it grows, on an example. What cannot be run, and what needs it, has no shape."""

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        self.root, self.graph = root, graph
        self._values: dict[fx.Node, Any] = {}
        self._last: fx.Node | None = None

    def feed(self, node: fx.Node, example: Tensor) -> None:
        """An input of the graph."""
        self._values[node] = example

    @torch.no_grad()
    def shape(self, node: fx.Node) -> tuple[int, ...] | None:
        """Of a value on the example; None: not known."""
        self._advance()
        value = self._values.get(node)
        return tuple(value.shape) if isinstance(value, Tensor) else None

    def _advance(self) -> None:
        for node in list(self.graph.nodes) if self._last is None else _after(self._last):
            self._last = node
            if node.op == "placeholder":
                continue
            try:
                self._values[node] = _light(self._run(node))
            except Exception:  # noqa: BLE001  # whatever an operator raises on this example: its shape is not known
                self._values.pop(node, None)

    def _run(self, node: fx.Node) -> Any:
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self._values[n])
        if node.op == "get_attr":
            return _named(self.root, str(node.target))
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target)).eval()(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _after(node: fx.Node) -> list[fx.Node]:
    found = []
    while (node := node.next).op != "root":
        found.append(node)
    return found


def _named(root: nn.Module, name: str) -> Any:
    value: Any = root
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _light(value: Any) -> Any:
    """Large floats are replaced by zeros without memory of their own: only their shape is of interest."""
    if isinstance(value, tuple | list):
        return type(value)(_light(v) for v in value)
    if isinstance(value, Tensor) and value.is_floating_point() and value.numel() > LARGE:
        return value.new_zeros(()).expand(value.shape)
    return value
