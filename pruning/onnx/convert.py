"""ONNX graph to torch.fx GraphModule with native modules."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from torch import Tensor, fx, nn

from pruning.analysis import Layer
from pruning.errors import RejectedModel, UnsupportedOperator, first_line, is_out_of_memory
from pruning.onnx.build import Builder
from pruning.onnx.dtypes import values_of
from pruning.onnx.graphs import graphs_of
from pruning.onnx.network import Gives, Move, Network, Source
from pruning.onnx.node import Node, Value, shown
from pruning.onnx.normalise import literal_shapes, normalise
from pruning.onnx.ops import CONVERTERS
from pruning.onnx.vet import opset_of
from pruning.sparsity import suiting
from pruning.sparsity.form import Form

GENERATED = re.compile(r"(onnx::\w+|[\d_]+|\w*_\d{3,}|const_fold_\w+|val_\d+)$")
ENDINGS: dict[str, Gives] = {
    "Softmax": "probabilities",
    "LogSoftmax": "log_probabilities",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
}
PASSES = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}  # what leaves scores as they are
SUFFIX = re.compile(r"[._](weight|weights|w|W|kernel)$")
# what only moves a stored tensor's elements: trained weights go back the way they came
MOVES = {"Cast", "CastLike", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
RETYPES = {"Cast", "CastLike", "Identity"}
DESCRIBES = {"Shape", "Size"}


def convert(model: ModelProto, examples: Mapping[str, Tensor], batch: int | None = None) -> Network:
    """A vetted model as a trainable network.

    Args: examples: of every input, with which shapes are found out; batch: the literal batch size that is to be freed.
    Raises: UnsupportedOperator: a node cannot be converted; RejectedModel: nothing could be pruned.
    """
    plain = normalise(model)
    stored = stored_tensors(model)
    translation = translate(plain, stored, examples, batch)
    return _network(translation, plain)


@dataclass(frozen=True)
class Translation:
    """A graph in torch: what was built, and the values of its outputs."""

    build: Builder
    outputs: Sequence[fx.Node]

    def module(self) -> fx.GraphModule:
        """forward(*inputs) -> an output, or a tuple of them where there are several."""
        self.build.graph.output(self.outputs[0] if len(self.outputs) == 1 else tuple(self.outputs))
        module = fx.GraphModule(self.build.root, self.build.graph)
        module.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        module.delete_all_unused_submodules()
        for name in self.build.host_constants & set(dict(module.named_buffers())):
            value = module.get_buffer(name)
            delattr(module, name)
            setattr(module, name, value)
        module.recompile()
        module.graph.lint()
        return module


def translate(
    model: ModelProto, stored: Mapping[str, TensorProto], examples: Mapping[str, Tensor], batch: int | None = None
) -> Translation:
    """Every node of the graph converted. Args: stored: tensors that may become parameters.

    Raises: UnsupportedOperator: a node cannot be converted.
    """
    literal = literal_shapes(model) if batch is not None else {}
    return _Reader(Builder(stored, literal, batch), opset_of(model)).read(model.graph, examples)


class _Reader:
    """Walks through a graph, and the graphs inside it."""

    def __init__(self, build: Builder, opset: int) -> None:
        self.build, self.opset = build, opset
        self.values: dict[str, Value] = {}
        self.tensors: dict[str, TensorProto] = {}  # not read before they are asked for
        build.inline = self._inline

    def read(self, graph: GraphProto, examples: Mapping[str, Tensor]) -> Translation:
        for i, port in enumerate(inputs_of(graph)):
            node = self.build.graph.placeholder(f"input_{i}")
            self.values[port.name] = node
            if port.name in examples:
                self.build.probe.feed(node, examples[port.name])
        outputs = self._inline(graph)
        handed_out = (self.build.origins.get(port.name) for port in graph.output)
        self.build.fixed.update(origin.tensor for origin in handed_out if origin is not None)
        known = [self.build.constant(v) if isinstance(v, Tensor) else v for v in outputs]
        return Translation(self.build, [v for v in known if isinstance(v, fx.Node)])

    def _inline(self, graph: GraphProto) -> tuple[Value, ...]:
        self.tensors |= {t.name: t for t in graph.initializer}
        for proto in graph.node:
            self._convert(proto)
        return tuple(self._value(port.name, f"output {shown(port.name)}") for port in graph.output)

    def _convert(self, proto: NodeProto) -> None:
        where = f"{proto.op_type} {shown(proto.name or ', '.join(proto.output))}"
        inputs = [self._value(name, where) for name in proto.input]
        if proto.op_type not in CONVERTERS:
            raise UnsupportedOperator(f"{where}: this operator is not supported")
        node = Node(proto, inputs, self.opset)
        result = _applied(self.build, node)
        results = result if isinstance(result, tuple) else (result,)
        self.values.update((k, v) for k, v in zip(node.output_names, results, strict=False) if k)
        self._trace(node, proto, results)

    def _trace(self, node: Node, proto: NodeProto, results: Sequence[Value]) -> None:
        """Which stored tensors the results are, and which of those read are more than parameters."""
        if node.op == "Constant" and node.output_names[0] in self.build.tensors:
            self._origin(node.output_names[0])
            return
        origins = [self.build.origins.get(name) for name in node.input_names]
        known = all(isinstance(r, Tensor) and r.is_floating_point() for r in results)
        if node.op in MOVES and origins[0] is not None and known:
            for i, name in enumerate(node.output_names):
                moves = () if node.op in RETYPES else (_move(self.build, node, i),)
                self.build.origins[name] = origins[0].moved(*moves)
            return
        if node.op == "If":
            self._trace_chosen(node, results)
        if node.op not in DESCRIBES:
            read = (o.tensor for i, o in enumerate(origins) if o is not None and i not in node.trained)
            self.build.fixed.update(read)

    def _trace_chosen(self, node: Node, results: Sequence[Value]) -> None:
        """A stored tensor that a branch hands out as it is."""
        for name, result in zip(node.output_names, results, strict=False):
            for inner, origin in list(self.build.origins.items()):
                if isinstance(result, Tensor) and self.values.get(inner) is result:
                    self.build.origins[name] = origin

    def _value(self, name: str, where: str) -> Value:
        if not name:
            return None
        if name not in self.values and name in self.tensors:
            self.values[name] = values_of(self.tensors[name])
            self._origin(name)
        if name not in self.values:
            raise UnsupportedOperator(f"{where} reads {shown(name)}, an output that is not supported")
        return self.values[name]

    def _origin(self, name: str) -> None:
        if name in self.build.tensors:
            self.build.origins[name] = Source(name, tuple(self.build.tensors[name].dims))


def _applied(build: Builder, node: Node) -> Any:
    try:
        return CONVERTERS[node.op](build, node)
    except UnsupportedOperator as error:
        raise error if node.op in str(error) else node.unsupported(str(error)) from error
    except Exception as error:  # whatever torch makes of a form that nobody thought of
        if is_out_of_memory(error):
            raise node.unsupported("it needs more memory than there is") from error
        raise node.unsupported(f"this form is not supported ({first_line(error)})") from error


def _move(build: Builder, node: Node, output: int) -> Move:
    """What this node does to its first input, for any tensor of that shape."""

    def move(stored: Tensor) -> Tensor:
        with build.uncharged():
            result = CONVERTERS[node.op](build, node.with_input(0, stored))
        return result[output] if isinstance(result, tuple) else result

    return move


def inputs_of(graph: GraphProto) -> list[ValueInfoProto]:
    """Inputs that are to be fed: not those that have an initializer as their default."""
    stored = {t.name for t in graph.initializer}
    return [i for i in graph.input if i.name not in stored]


def stored_tensors(model: ModelProto) -> dict[str, TensorProto]:
    """Tensors kept in the file by the name that nodes use: initializers and Constant nodes, of inner graphs too."""
    found: list[tuple[str, TensorProto]] = []
    for graph in graphs_of(model.graph):
        found += [(t.name, t) for t in graph.initializer]
        constants = [node for node in graph.node if node.op_type == "Constant"]
        found += [(node.output[0], a.t) for node in constants for a in node.attribute if a.name == "value"]
    times = Counter(name for name, _ in found)
    return {name: tensor for name, tensor in found if times[name] == 1}  # branches may use one name twice


def _network(translation: Translation, plain: ModelProto) -> Network:
    build, module = translation.build, translation.module()
    if not any(port in {n.name for n in module.graph.nodes if n.users} for port in _placeholders(module)):
        raise RejectedModel("the outputs do not depend on the inputs")
    names = {id(p): n for n, p in module.named_parameters()}
    _rename(build, names)
    for name, source in {names[i]: s for i, s in build.sources.items() if i in names}.items():
        if source.tensor in build.fixed:  # it is used otherwise too: the rest of the graph reads it as it is
            module.get_parameter(name).requires_grad_(False)
            build.prunable.pop(name, None)
    for name, source in build.sources.items():
        if name in names and not module.get_parameter(names[name]).isfinite().all():
            raise RejectedModel(
                f"weight {shown(source.tensor)} holds infinite values; the model was not trained to an end"
            )
    layers = _layers(build, module)
    if not layers:
        raise RejectedModel("the model has no convolution or dense layer with weights of its own: nothing to prune")
    buffers = {n for n, _ in module.named_buffers()}
    sources = {names[i]: s for i, s in build.sources.items() if i in names}
    sources |= {name: source for name, source in build.buffers.items() if name in buffers}
    outputs = tuple(port.name for port in plain.graph.output)
    return Network(
        module=module,
        layers=dict(layers.values()),
        weights={name: parameter for parameter, (name, _) in layers.items()},
        biases={
            name: build.bias_of[parameter] for parameter, (name, _) in layers.items() if parameter in build.bias_of
        },
        sources=sources,
        inputs=tuple(port.name for port in inputs_of(plain.graph)),
        outputs=outputs,
        gives={name: _gives(plain.graph.node, name) for name in outputs},
    )


def _rename(build: Builder, names: Mapping[int, str]) -> None:
    """Parameters as the module calls them; those that no output depends on are gone."""
    now = {old: names[i] for i, old in build.names.items() if i in names}
    build.prunable = {now[n]: p for n, p in build.prunable.items() if n in now}
    build.bias_of = {now[w]: now[b] for w, b in build.bias_of.items() if w in now and b in now}


def _placeholders(module: fx.GraphModule) -> list[str]:
    return [n.name for n in module.graph.nodes if n.op == "placeholder"]


def _layers(build: Builder, module: nn.Module) -> dict[str, tuple[str, Layer]]:
    """By the name of the parameter: the layer's name, and the layer."""
    found: dict[str, tuple[str, Layer]] = {}
    taken: set[str] = set()
    for parameter, prunable in build.prunable.items():
        name = _layer_name(prunable.source.tensor, prunable.node)
        while name in taken:
            name += "'"
        taken.add(name)
        weight = module.get_parameter(parameter)
        groups = getattr(module.get_submodule(parameter.rpartition(".")[0]), "groups", 1)
        form = Form(prunable.kind, tuple(weight.shape), groups)
        found[parameter] = name, _layer(name, prunable.source.tensor, form, weight)
    return found


def _layer(name: str, tensor: str, form: Form, weight: Tensor) -> Layer:
    return Layer(
        name=name,
        weight=tensor,
        kind=form.kind,
        shape=form.shape,
        weights=weight.numel(),
        zeros_share=float((weight == 0).float().mean()),
        patterns=suiting(form),
        multiply_adds=0,
        groups=form.groups,
    )


def _layer_name(tensor: str, node_name: str) -> str:
    """conv1 for conv1.weight; the node's name where the exporter made the tensor's name up."""
    return node_name.strip("/") if node_name and GENERATED.fullmatch(tensor) else SUFFIX.sub("", tensor) or tensor


def _gives(nodes: Iterable[NodeProto], output: str) -> Gives:
    made = {name: node for node in nodes for name in node.output}
    while output in made and made[output].op_type in PASSES:
        output = made[output].input[0]
    return ENDINGS.get(made[output].op_type, "logits") if output in made else "logits"
