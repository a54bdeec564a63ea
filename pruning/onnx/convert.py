"""ONNX graph to torch.fx GraphModule with native modules."""

import re
from collections.abc import Iterable

import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor, fx, nn

from pruning.analysis import Layer
from pruning.errors import RejectedModel, UnsupportedOperator
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
    build = Builder(tensors, inputs[0].type.tensor_type.shape.dim[0].dim_value or None)
    values: dict[str, Value] = {inputs[0].name: build.graph.placeholder("x")}
    for proto in model.graph.node:
        _convert_node(build, proto, values, opset_of(model))
    output = values[model.graph.output[0].name]
    if not isinstance(output, fx.Node):
        raise RejectedModel("the output does not depend on the input")
    build.graph.output(output)
    return _network(build, model.graph.node, model.graph.output[0].name)


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
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise node.unsupported(f"this form is not supported ({error})") from error
    results = result if isinstance(result, tuple) else (result,)
    values.update(zip(node.output_names, results, strict=False))


def _value(build: Builder, values: dict[str, Value], proto: NodeProto, name: str) -> Value:
    if not name:
        return None
    if name not in values and name not in build.tensors:
        raise UnsupportedOperator(f"{proto.op_type} {proto.name!r} reads {name!r}, an output that is not supported")
    if name not in values:
        values[name] = torch.from_numpy(numpy_helper.to_array(build.tensors[name]).copy())
    return values[name]


def _network(build: Builder, nodes: Iterable[NodeProto], output: str) -> Network:
    module = fx.GraphModule(build.root, build.graph)
    module.graph.lint()
    names = {id(p): n for n, p in module.named_parameters()}
    sources = {
        names[id(p)]: Source(tensor, transposed)
        for tensor, (transposed, p) in build.parameters.items()
        if id(p) in names
    }
    layers, weights = _layers(build, module)
    if not layers:
        raise RejectedModel("the model has no convolution or dense layer with weights of its own: nothing to prune")
    return Network(module, layers, weights, sources | build.sources, _gives(nodes, output))


def _layers(build: Builder, module: nn.Module) -> tuple[dict[str, Layer], dict[str, str]]:
    layers: dict[str, Layer] = {}
    weights: dict[str, str] = {}
    for child, (tensor, node_name) in build.layer_of.items():
        name = _layer_name(tensor, node_name)
        if any(layer.weight == tensor for layer in layers.values()):
            continue  # a shared weight is pruned once
        while name in layers:
            name += "'"
        owner = module.get_submodule(child)
        layers[name] = _layer(name, tensor, owner.get_parameter("weight"))
        weights[name] = f"{child}.weight"
    return layers, weights


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
