"""The graph under construction: what converters call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from onnx import GraphProto, TensorProto
from torch import Tensor, fx, nn

from pruning.errors import UnsupportedOperator
from pruning.onnx.dtypes import FLOATS, values_of
from pruning.onnx.network import Move, Source
from pruning.onnx.node import Node, Value
from pruning.onnx.probe import Probe

F = TypeVar("F", bound=Callable[..., Any])
READS_NUMBERS: set[Callable[..., Any]] = set()
MAKES_NUMBERS: set[Callable[..., Any]] = set()
LARGEST_CONSTANT = 2**27  # elements of a value that is computed while the graph is built
MOST_CONSTANTS = 2**28  # and of all of them
MOST_PRODUCTS = 2**32
CONVOLUTIONS = {getattr(nn.functional, f"conv{kind}{rank}d") for kind in ("", "_transpose") for rank in (1, 2, 3)}


@dataclass(frozen=True)
class Prunable:
    """A parameter whose weights are pruned: what it comes from in the file, and its kind."""

    source: Source
    node: str
    kind: str


class Builder:
    """Collects modules and calls into an fx graph.

    tensors: kept in the file, by name. literal: shapes of other values at the exporter's batch, where they are known.
    batch: literal batch size that the exporter wrote into the graph and that is to be freed, None if there is none.
    inline: what puts a graph that stands inside a node in its place; returns the graph's outputs.
    origins: of known values that are stored tensors, perhaps moved. parameters: by stored tensor; sources: by their id.
    prunable, bias_of: by the name of the weight parameter. buffers: running statistics, by name.
    on_host: values that are computed on the CPU, from shapes; host_constants: names of buffers that stay there.
    norms: modules of BatchNormalizations by their four tensors.
    fixed: stored float tensors that are used otherwise than as a parameter.
    """

    def __init__(
        self,
        tensors: Mapping[str, TensorProto],
        literal: Mapping[str, tuple[int, ...]],
        batch: int | None,
    ) -> None:
        self.tensors = dict(tensors)
        self.literal = literal
        self.batch = batch
        self.inline: Callable[[GraphProto], tuple[Value, ...]] = _no_graphs
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.probe = Probe(self.root, self.graph)
        self.prunable: dict[str, Prunable] = {}
        self.bias_of: dict[str, str] = {}
        self.buffers: dict[str, Source] = {}
        self.origins: dict[str, Source] = {}
        self.parameters: dict[str, list[nn.Parameter]] = {}
        self.sources: dict[int, Source] = {}
        self.names: dict[int, str] = {}
        self.fixed: set[str] = set()
        self.norms: dict[tuple[Source, ...], str] = {}
        self.on_host: set[fx.Node] = set()
        self.host_constants: set[str] = set()
        self._constants = 0
        self._computed = 0
        self._products = 0

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A function applied: now if all arguments are known, else at run time. This is constant folding."""
        nodes: list[fx.Node] = []
        fx.map_arg((args, kwargs), nodes.append)
        if nodes:
            return self._call(function, args, kwargs)
        self._spend(function, args)
        with torch.no_grad():
            result = function(*args, **kwargs)
        parts = result if isinstance(result, tuple | list) else (result,)
        sizes = [part.untyped_storage().nbytes() // part.element_size() for part in parts if isinstance(part, Tensor)]
        self._computed += sum(sizes)
        if max(sizes, default=0) > LARGEST_CONSTANT or self._computed > MOST_CONSTANTS:
            raise UnsupportedOperator(f"constants of {self._computed:,} elements are computed: too many")
        return result

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> fx.Node:
        """At run time. Shapes and what is made of them stay on the CPU, and go to the device where they meet data."""
        nodes: list[fx.Node] = []
        fx.map_arg(args, nodes.append)
        data = next((v for v in nodes if v not in self.on_host), None)
        given = self._arguments(args, None if function in READS_NUMBERS else data)
        node = self.graph.call_function(function, given, dict(kwargs))
        if data is None or function in MAKES_NUMBERS:
            self.on_host.add(node)
        return node

    def _arguments(self, args: Any, data: fx.Node | None) -> Any:
        """Arguments as an fx graph holds them: known tensors are attributes of it.

        Args: data: what decides the device, to which computed shapes are sent; None: all stays on the CPU.
        """
        if isinstance(args, tuple | list):
            return type(args)(self._arguments(a, data) for a in args)
        if isinstance(args, Tensor):
            return self.constant(args, on_host=data is None)
        if data is not None and isinstance(args, fx.Node) and args in self.on_host:
            return self.graph.call_function(beside, (args, data))
        return args

    @contextmanager
    def uncharged(self) -> Iterator[None]:
        """What is computed meanwhile does not count: it moves stored tensors, and may be done again and again."""
        before = self._computed, self._products
        try:
            yield
        finally:
            self._computed, self._products = before

    def _spend(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """No more than so many products for constants: those of two tensors at most, whatever is done with them.

        Raises: UnsupportedOperator.
        """
        sizes = [a.numel() for a in args if isinstance(a, Tensor) and a.dim() > 1]
        if len(sizes) > 1:
            shared = args[1].shape[1] if function in CONVOLUTIONS else args[0].shape[-1]
            self._products += sizes[0] * sizes[1] // max(shared, 1)
        if self._products > MOST_PRODUCTS:
            raise UnsupportedOperator("constants are computed by too many products; fold them before the export")

    def outputs(self, result: Any, count: int) -> tuple[Any, ...]:
        """The parts of a call that returns several values."""
        if isinstance(result, fx.Node):
            return tuple(self._call(_part, (result, i), {}) for i in range(count))
        return tuple(result)

    def module(self, node: Node, module: nn.Module, *args: Any) -> fx.Node:
        """A native module applied; its parameters are named after it."""
        name = f"{node.op}_{len(list(self.root.children()))}"
        self.root.add_module(name, module)
        for k, parameter in module.named_parameters():
            self.names.setdefault(id(parameter), f"{name}.{k}")
        return self.graph.call_module(name, self._arguments(args, args[0]))

    def weight(self, node: Node, i: int, *moves: Move) -> nn.Parameter | None:
        """The trainable parameter that the i-th input becomes after these moves.

        None: the input is computed, or some of its elements are held by a parameter of another layout;
        `read` serves then. The same elements in the same order give the same parameter.
        """
        origin = self.origins.get(node.input_names[i]) if i < len(node.input_names) else None
        if origin is None or not self.is_weight(node.input_names[i]):
            return None
        source = origin.moved(*moves)
        group = self.parameters.setdefault(source.tensor, [])
        for parameter in group:
            if _same(self.sources[id(parameter)], source):
                node.trained.add(i)
                return parameter
        if any(_overlap(self.sources[id(parameter)], source) for parameter in group):
            return None
        values = source.read(values_of(self.tensors[source.tensor]).to(node.inputs[i].dtype))  # type: ignore[union-attr]
        if not values.numel():
            raise node.unsupported(f"weight {source.tensor!r} is empty")
        node.trained.add(i)
        group.append(nn.Parameter(values.contiguous().clone()))
        self.sources[id(group[-1])] = source
        return group[-1]

    def read(self, node: Node, i: int) -> Value:
        """The i-th input as a value of the graph: a trained parameter where it is a stored float tensor.

        A tensor that another layer holds in another layout is read from there, so that both are trained as one.
        """
        value = node.input(i)
        if not isinstance(value, Tensor) or not self.is_weight(node.input_names[i]):
            return value
        parameter = self.weight(node, i)
        if parameter is not None:
            return self.graph.get_attr(self.name_of(parameter))
        origin = self.origins[node.input_names[i]]
        whole = [p for p in self.parameters[origin.tensor] if p.numel() == math.prod(origin.shape)]
        if not whole:
            return value
        node.trained.add(i)
        return self._rearranged(whole[0], origin)

    def name_of(self, parameter: nn.Parameter) -> str:
        """Its name under the root; it gets one where no module holds it."""
        if id(parameter) not in self.names:
            name = self.names[id(parameter)] = f"parameter_{len(self.names)}"
            self.root.register_parameter(name, parameter)
        return self.names[id(parameter)]

    def prune(self, parameter: nn.Parameter, node: Node, kind: str, part: str = "") -> str:
        """Declare the weights of a layer; one that is shared is pruned once. Returns the parameter's name.

        Args: part: what tells several matrices of one node apart.
        """
        name = self.name_of(parameter)
        self.prunable.setdefault(name, Prunable(self.sources[id(parameter)], node.name and node.name + part, kind))
        return name

    def is_weight(self, name: str) -> bool:
        """Whether a value is a float tensor stored in the file, perhaps moved, and not one computed from others."""
        origin = self.origins.get(name)
        return origin is not None and self.tensors[origin.tensor].data_type in FLOATS

    def shape(self, node: Node, i: int) -> tuple[int, ...] | None:
        """Of the i-th input on an example; None: not known before run time."""
        value = node.input(i)
        return tuple(value.shape) if isinstance(value, Tensor) else self.probe.shape(value) if value else None

    def static(self, node: Node, i: int) -> tuple[int, ...] | None:
        """Shape of the i-th input at the exporter's batch; None: not known."""
        return self.literal.get(node.input_names[i])

    def rank(self, node: Node, i: int) -> int | None:
        """Number of axes of the i-th input; None: not known before run time."""
        shape = self.shape(node, i)
        return None if shape is None else len(shape)

    def constant(self, value: Tensor, on_host: bool = False) -> fx.Node:
        """A known tensor as an attribute of the graph: a buffer, which moves to the device.

        Args: on_host: it stays on the CPU, where shapes are computed with.
        """
        self._constants += 1
        name = f"constant_{self._constants}"
        self.root.register_buffer(name, value)
        if on_host:
            self.host_constants.add(name)
        return self.graph.get_attr(name)

    def _rearranged(self, held: nn.Parameter, wanted: Source) -> fx.Node:
        value, index = self.graph.get_attr(self.name_of(held)), wanted.index()
        held_index = self.sources[id(held)].index()
        if held.dim() == 2 and torch.equal(held_index.t(), index):
            return self.graph.call_function(torch.t, (value,))
        places = torch.empty(held.numel(), dtype=torch.int64)
        places[held_index.flatten().long()] = torch.arange(held.numel())
        return self.call(torch.take, value, places[index.long()])


def bound(function: Callable[..., Any], *settings: Any) -> Callable[..., Any]:
    """The function with its first arguments given: what an fx graph cannot hold, such as other functions."""

    def call(*args: Any) -> Any:
        return function(*settings, *args)

    call.__name__ = function.__name__
    return reads_numbers(call) if function in READS_NUMBERS else call


def reads_numbers(function: F) -> F:
    """Mark a function that takes numbers from tensors (a shape, an axis), wherever these are."""
    READS_NUMBERS.add(function)
    return function


def makes_numbers(function: F) -> F:
    """Mark a function whose result is a shape, or made of one, on the CPU."""
    MAKES_NUMBERS.add(function)
    return function


def beside(value: Any, data: Any) -> Any:
    """A value on the device of the data that it meets."""
    return value.to(data.device) if isinstance(value, Tensor) and isinstance(data, Tensor) else value


def _no_graphs(graph: GraphProto) -> tuple[Value, ...]:
    raise UnsupportedOperator(f"graph {graph.name!r} inside a node is not supported")


def _part(values: Any, i: int) -> Any:
    return values[i]


def _same(a: Source, b: Source) -> bool:
    return a.moves == b.moves or torch.equal(a.index(), b.index())


def _overlap(a: Source, b: Source) -> bool:
    if not a.moves or not b.moves:
        return True
    held = torch.zeros(math.prod(a.shape), dtype=torch.bool)
    held[a.index().flatten().long()] = True
    return bool(held[b.index().flatten().long()].any())
