"""What a file says and nothing computes with, taken out: names, notes, defaults."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, defs, helper

from pruning.onnx.codecs.pieces import fresh
from pruning.onnx.graphs import graphs_of
from pruning.onnx.unpack import brief_mark
from pruning.onnx.vet import STANDARD, opset_of

WINDOWS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")
IDLE = {"pads": 0, "strides": 1, "dilations": 1, "output_padding": 0}  # what a window has where nothing is said


def without_notes(model: ModelProto) -> None:
    """Take out documentation, and shapes of values that are not at the graph's ends."""
    model.ClearField("doc_string")
    for graph in graphs_of(model.graph):
        graph.ClearField("doc_string")
        graph.ClearField("value_info")
        graph.ClearField("quantization_annotation")
        for one in (*graph.node, *graph.initializer, *graph.input, *graph.output):
            one.ClearField("doc_string")
            one.ClearField("metadata_props")
        for node in graph.node:
            for attribute in node.attribute:
                attribute.ClearField("doc_string")
                if attribute.HasField("t"):
                    attribute.t.ClearField("name")


def shorten(model: ModelProto) -> None:
    """Take out the exporter's name and all defaults too; all names but those of inputs and outputs are short."""
    for field in ("producer_name", "producer_version", "domain", "model_version"):
        model.ClearField(field)
    model.graph.name = "g"
    for imported in model.opset_import:
        if imported.domain in STANDARD:
            imported.ClearField("domain")
    brief_mark(model)
    _short_sizes(model)
    opset = opset_of(model)
    nodes = [n for graph in graphs_of(model.graph) for n in graph.node]
    for node in nodes:
        if node.domain in STANDARD:
            _without_defaults(node, opset)
        node.ClearField("name")
    _rename(model)


def _short_sizes(model: ModelProto) -> None:
    """Sizes that are known only at run time, and have names, get short ones."""
    ports = (*model.graph.input, *model.graph.output)
    sizes = [d for port in ports for d in port.type.tensor_type.shape.dim if d.dim_param]
    known = dict.fromkeys(d.dim_param for d in sizes)
    if max(map(len, known), default=0) > 1:
        short = dict(zip(known, fresh(()), strict=False))
        for size in sizes:
            size.dim_param = short[size.dim_param]


def name_where_needed(nodes: Sequence[NodeProto]) -> None:
    """Names of nodes say nothing, but a fusion of ONNX Runtime 1.20 makes two nodes of one name of Gathers without."""
    if any(n.op_type in ("Gather", "Slice") for n in nodes):
        names = fresh(n.name for n in nodes)
        for node in (n for n in nodes if not n.name):
            node.name = next(names)


def _without_defaults(node: NodeProto, opset: int) -> None:
    schema = defs.get_schema(node.op_type, opset, "").attributes
    kept = [a for a in node.attribute if not _is_default(node, a.name, helper.get_attribute_value(a), schema)]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _is_default(node: NodeProto, name: str, value: object, schema: Mapping[str, defs.OpSchema.Attribute]) -> bool:
    if node.op_type in WINDOWS and name in IDLE and isinstance(value, list | tuple):
        return set(value) <= {IDLE[name]}
    if name == "kernel_shape" and node.op_type in ("Conv", "ConvTranspose"):
        return True  # that of its weights, which are stored
    known = schema.get(name)
    if known is None or not known.default_value.type:
        return False
    return bool(np.array_equal(np.asarray(helper.get_attribute_value(known.default_value)), np.asarray(value)))


def _rename(model: ModelProto) -> None:
    """The names that stand most often are the shortest."""
    ends = {port.name for port in (*model.graph.input, *model.graph.output)}
    taken = ends | {""}
    times = Counter(name for name in _names(model.graph) if name not in taken)
    short = dict(zip((name for name, _ in times.most_common()), fresh(taken), strict=False))
    for graph in graphs_of(model.graph):
        for node in graph.node:
            node.input[:] = [short.get(name, name) for name in node.input]
            node.output[:] = [short.get(name, name) for name in node.output]
        for one in (*graph.initializer, *graph.input, *graph.output):
            one.name = short.get(one.name, one.name)


def _names(graph: GraphProto) -> Iterator[str]:
    for one in graphs_of(graph):
        yield from (name for node in one.node for name in (*node.input, *node.output))
        yield from (value.name for value in (*one.initializer, *one.input, *one.output))
