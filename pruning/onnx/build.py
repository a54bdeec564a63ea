"""What a converter works with: one ONNX node, and the graph under construction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn

from pruning.errors import UnsupportedOperator
from pruning.onnx.network import Source

Value = fx.Node | Tensor | None


class Node:
    """An ONNX node with its inputs resolved. Missing optional inputs are None."""

    def __init__(self, proto: NodeProto, inputs: list[Value], opset: int) -> None:
        self.op = proto.op_type
        self.name = proto.name
        self.inputs = inputs
        self.input_names = list(proto.input)
        self.output_names = list(proto.output)
        self.opset = opset
        self._attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute; strings decoded."""
        value = self._attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def input(self, i: int) -> Value:
        """The i-th input, or None where it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def constant(self, i: int) -> Tensor | None:
        """The i-th input where it is known now, None where it is left out.

        Raises: UnsupportedOperator: it is computed from the model's input.
        """
        value = self.input(i)
        if isinstance(value, fx.Node):
            raise self.unsupported(f"input {self.input_names[i]!r} must be constant")
        return value

    def unsupported(self, why: str) -> UnsupportedOperator:
        """An error that names this node."""
        return UnsupportedOperator(f"{self.op} {self.name or ', '.join(self.output_names)!r}: {why}")


class Builder:
    """Collects modules and calls into an fx graph.

    batch: literal batch size that the exporter wrote into the graph, None if it is symbolic.
    layer_of: module to the names of its weight tensor and of its node; bias_of: module to the name of its bias.
    """

    def __init__(self, tensors: dict[str, TensorProto], batch: int | None) -> None:
        self.tensors = tensors
        self.batch = batch
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.sources: dict[str, Source] = {}
        self.layer_of: dict[str, tuple[str, str]] = {}
        self.bias_of: dict[str, str] = {}
        self.parameters: dict[str, tuple[bool, nn.Parameter]] = {}
        self._constants = 0

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A function applied: now if all arguments are known, else at run time. This is constant folding."""
        nodes: list[fx.Node] = []
        fx.map_arg((args, kwargs), nodes.append)
        if not nodes:
            return function(*args, **kwargs)
        return self.graph.call_function(function, fx_args(self, args), kwargs)

    def module(self, node: Node, module: nn.Module, x: Value) -> fx.Node:
        """A native module applied to x."""
        name = f"{node.op}_{len(list(self.root.children()))}"
        self.root.add_module(name, module)
        return self.graph.call_module(name, (x,))

    def weight(self, node: Node, i: int, transposed: bool = False) -> nn.Parameter:
        """The trainable parameter of the i-th input; the same tensor gives the same parameter.

        Raises: UnsupportedOperator: one tensor is used under two layouts.
        """
        name = node.input_names[i]
        if name in self.parameters:
            was, parameter = self.parameters[name]
            if was != transposed:
                raise node.unsupported(f"weight {name!r} is shared with a node that reads it transposed")
            return parameter
        values = self.values(name).float()
        parameter = nn.Parameter((values.t() if transposed else values).contiguous().clone())
        self.parameters[name] = (transposed, parameter)
        return parameter

    def is_weight(self, name: str) -> bool:
        """Whether a name is a float tensor stored in the file (not one computed from others)."""
        tensor = self.tensors.get(name)
        return tensor is not None and tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)

    def values(self, name: str) -> Tensor:
        """A copy of a stored tensor."""
        return torch.from_numpy(np.array(numpy_helper.to_array(self.tensors[name])))

    def constant(self, value: Tensor) -> fx.Node:
        """A known tensor as an attribute of the graph.

        Only floats are buffers, which move to the device: shapes are computed with on the CPU.
        """
        self._constants += 1
        name = f"constant_{self._constants}"
        if value.is_floating_point():
            self.root.register_buffer(name, value)
        else:
            setattr(self.root, name, value)
        return self.graph.get_attr(name)


def fx_args(build: Builder, args: Any) -> Any:
    """Tensors among the arguments become buffers: an fx graph holds no tensors."""
    if isinstance(args, Tensor):
        return build.constant(args)
    if isinstance(args, tuple | list):
        return type(args)(fx_args(build, a) for a in args)
    return args
