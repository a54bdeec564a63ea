"""One ONNX node as a converter sees it."""

from __future__ import annotations

from typing import Any

from onnx import NodeProto, helper
from torch import Tensor, fx

from pruning.errors import UnsupportedOperator

Value = fx.Node | Tensor | None


def shown(name: str) -> str:
    """A name of the file in a sentence."""
    return ascii(name[:100])


class Node:
    """An ONNX node with its inputs resolved. Missing optional inputs are None."""

    def __init__(self, proto: NodeProto, inputs: list[Value], opset: int) -> None:
        self.op = proto.op_type
        self.name = proto.name
        self.inputs = inputs
        self.input_names = list(proto.input)
        self.output_names = list(proto.output)
        self.opset = opset
        self.trained: set[int] = set()  # inputs that became parameters
        self._attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute; strings decoded."""
        value = self._attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def input(self, i: int) -> Value:
        """The i-th input, or None where it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def ints(self, name: str, i: int, since: int) -> Any:
        """Numbers that are an attribute before an opset, and an input from it on; None where left out.

        Returns: a list, or a value of the graph where they are computed.
        """
        given = self.attribute(name) if self.opset < since else self.input(i)
        return [int(n) for n in given.flatten()] if isinstance(given, Tensor) else given

    def gives(self, output: int) -> bool:
        """Whether anybody asks for this output."""
        return output < len(self.output_names) and bool(self.output_names[output])

    def with_input(self, i: int, value: Value) -> Node:
        """The same node with another value for one input."""
        node = object.__new__(Node)
        node.__dict__.update(self.__dict__, inputs=[value if k == i else v for k, v in enumerate(self.inputs)])
        return node

    def unsupported(self, why: str) -> UnsupportedOperator:
        """An error that names this node."""
        return UnsupportedOperator(f"{self.op} {shown(self.name or ', '.join(self.output_names))}: {why}")
