"""ONNX graph to torch.fx GraphModule with native modules."""

import re
from collections.abc import Iterable

from onnx import ModelProto, NodeProto, TensorProto
from torch import Tensor, fx, nn

from pruning.analysis import Layer
from pruning.errors import RejectedModel, UnsupportedOperator, is_out_of_memory
from pruning.onnx.build import Builder, Node, Value
from pruning.onnx.network import Gives, Network, Source
from pruning.onnx.ops import CONVERTERS
from pruning.onnx.vet import opset_of
from pruning.sparsity import PATTERNS

GENERATED = re.compile(r"(onnx::\w+|[\d_]+|\w*_\d{3,})$")
ENDINGS: dict[str, Gives] = {"Softmax": "probabilities", "LogSoftmax": "log_probabilities"}
SUFFIX = re.compile(r"[._](weight|weights|w|W|kernel)$")


def convert(model: ModelProto) -> Network:
    """A vetted model as a trainable network.

    Raises: UnsupportedOperator: a node cannot be converted; RejectedModel: nothing could be pruned.
    """
    tensors = stored_tensors(model)
    inputs = [i for i in model.graph.input if i.name not in tensors]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise RejectedModel(
            f"the model has {len(inputs)} inputs and {len(model.graph.output)} outputs; only one of each is taken"
        )
    dims = inputs[0].type.tensor_type.shape.dim
    if len(dims) < 2:
        raise RejectedModel(
            f"input {inputs[0].name!r} needs a batch axis and at least one more; re-export with its shape"
        )
    build = Builder(tensors, dims[0].dim_value or None)
    values: dict[str, Value] = {inputs[0].name: build.graph.placeholder("x")}
    for proto in model.graph.node:
        _convert_node(build, proto, values, opset_of(model))
    output = values[model.graph.output[0].name]
    if not isinstance(output, fx.Node):
        raise RejectedModel("the output does not depend on the input")
    build.graph.output(output)
    return _network(build, model.graph.node, inputs[0].name, model.graph.output[0].name)


def stored_tensors(model: ModelProto) -> dict[str, TensorProto]:
    """Tensors kept in the file by the name that nodes use: initializers and Constant nodes."""
    constants = {
        node.output[0]: a.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for a in node.attribute
        if a.name == "value"
    }
    return {t.name: t for t in model.graph.initializer} | constants


def _convert_node(build: Builder, proto: NodeProto, values: dict[str, Value], opset: int) -> None:
    inputs = [_value(build, values, proto, name) for name in proto.input]
    node = Node(proto, inputs, opset)
    try:
        result = CONVERTERS[node.op](build, node)
    except UnsupportedOperator:
        raise
    except Exception as error:  # whatever torch makes of a form that nobody thought of
        if is_out_of_memory(error):
            raise
        raise node.unsupported(f"this form is not supported ({error})") from error
    results = result if isinstance(result, tuple) else (result,)
    values.update(zip(node.output_names, results, strict=False))


def _value(build: Builder, values: dict[str, Value], proto: NodeProto, name: str) -> Value:
    if not name:
        return None
    if name not in values and name not in build.tensors:
        raise UnsupportedOperator(f"{proto.op_type} {proto.name!r} reads {name!r}, an output that is not supported")
    if name not in values:
        try:
            values[name] = build.values(name)
        except TypeError as error:  # bfloat16 and others that NumPy knows and torch does not take from it
            kind = TensorProto.DataType.Name(build.tensors[name].data_type).lower()
            raise UnsupportedOperator(f"tensor {name!r}: element type {kind} is not supported") from error
    return values[name]


def _network(build: Builder, nodes: Iterable[NodeProto], input: str, output: str) -> Network:
    module = fx.GraphModule(build.root, build.graph)
    module.graph.lint()
    names = {id(p): n for n, p in module.named_parameters()}
    sources = {
        names[id(p)]: Source(tensor, transposed)
        for tensor, (transposed, p) in build.parameters.items()
        if id(p) in names
    }
    layers, owners = _layers(build, module)
    if not layers:
        raise RejectedModel("the model has no convolution or dense layer with weights of its own: nothing to prune")
    weights = {k: f"{owner}.weight" for k, owner in owners.items()}
    biases = {k: build.bias_of[owner] for k, owner in owners.items() if owner in build.bias_of}
    gives: dict[str, Gives] = {output: _gives(nodes, output)}
    return Network(module, layers, weights, biases, sources | build.sources, (input,), (output,), gives)


def _layers(build: Builder, module: nn.Module) -> tuple[dict[str, Layer], dict[str, str]]:
    """Layers by name, and the module of each; a shared weight is pruned once."""
    layers: dict[str, Layer] = {}
    owners: dict[str, str] = {}
    seen: set[str] = set()
    for child, (tensor, node_name) in build.layer_of.items():
        if tensor in seen:
            continue
        seen.add(tensor)
        name = _layer_name(tensor, node_name)
        while name in layers:
            name += "'"
        layers[name] = _layer(name, tensor, module.get_submodule(child).get_parameter("weight"))
        owners[name] = child
    return layers, owners


def _layer(name: str, tensor: str, weight: Tensor) -> Layer:
    return Layer(
        name=name,
        weight=tensor,
        kind="dense" if weight.dim() == 2 else "conv",
        shape=tuple(weight.shape),
        weights=weight.numel(),
        zeros_share=float((weight == 0).float().mean()),
        patterns=tuple(PATTERNS),
        multiply_adds=0,
    )


def _layer_name(tensor: str, node_name: str) -> str:
    """conv1 for conv1.weight; the node's name where the exporter made the tensor's name up."""
    return node_name.strip("/") if node_name and GENERATED.fullmatch(tensor) else SUFFIX.sub("", tensor)


def _gives(nodes: Iterable[NodeProto], output: str) -> Gives:
    last = {name: node.op_type for node in nodes for name in node.output}.get(output, "")
    return ENDINGS.get(last, "logits")
