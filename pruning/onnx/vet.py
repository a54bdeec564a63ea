"""An upload is hostile until vetted: cheap rules first, each refusal says which one and what to do."""

import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pruning.errors import RejectedModel, UnsupportedOperator, first_line
from pruning.frozen import Frozen
from pruning.onnx.dtypes import FLOATS
from pruning.onnx.graphs import graphs_in, graphs_of
from pruning.onnx.inline import COMPOSITES, MOST_NODES
from pruning.onnx.node import shown
from pruning.onnx.ops import CONVERTERS
from pruning.onnx.sizes import check_sizes

STANDARD = ("", "ai.onnx")
AXES = {"axis", "axes", "perm", "batch_axis", "time_axis", "batch_dims"}
EQUATION = re.compile(rb"[A-Za-z., ]+(->[A-Za-z. ]*)?")  # shape inference loops for ever on others
WINDOW = {"kernel_shape", "pads", "strides", "dilations", "output_shape", "output_padding"}
PACKED = {"INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1"}  # several elements in a byte
NEST = {"If"}  # operators whose inner graphs are taken


class Limits(Frozen):
    """What a model may be at most."""

    bytes: int = 2_000_000_000
    oldest_opset: int = 1
    newest_opset: int = 26
    newest_ir: int = 13
    nodes: int = 50_000
    depth: int = 8
    elements: int = 2**31
    inferred_elements: int = 2**28
    rank: int = 16
    length_of_name: int = 4096
    ends: int = 10_000
    window: int = 2**22
    padding: int = 2**13


def vet(content: bytes, limits: Limits | None = None) -> ModelProto:
    """Parse from bytes and check; nothing else of this package touches an unvetted file.

    Never reads another file: external data is refused before anything would follow it.
    Raises: RejectedModel: the rule that was broken, the node, and what to do.
    """
    limits = limits or Limits()
    if len(content) > limits.bytes:
        raise RejectedModel(f"the file has {len(content):,} bytes; at most {limits.bytes:,} are taken")
    model = _parse(content)
    check(model, limits)
    return model


def check(model: ModelProto, limits: Limits) -> None:
    """Every rule that needs no bytes. Raises: RejectedModel."""
    try:
        _check_counts(model, limits)
        _check_names(model, limits)
        _check_structure(model, limits)
        _check_version(model, limits)
        _check_tensors(model, limits, _check_form)
        _check_with_onnx(model)
        check_sizes(model, limits.inferred_elements, limits.rank)
        _check_tensors(model, limits, _check_finite)
    except UnicodeDecodeError as error:
        raise RejectedModel("a name in the file is not text (UTF-8); export the model again") from error


def opset_of(model: ModelProto) -> int:
    """Version of the default operator set."""
    return max((o.version for o in model.opset_import if o.domain in STANDARD), default=0)


def _parse(content: bytes) -> ModelProto:
    if content[:4] == b"PK\x03\x04":
        raise RejectedModel("not an ONNX file but a zip or npz archive: if it is the data set, upload it as that")
    try:
        model = ModelProto.FromString(content)
    except Exception as error:  # protobuf raises a DecodeError of its C extension
        raise RejectedModel(
            "not an ONNX file, or a truncated one: it does not parse; export the model again"
        ) from error
    if not model.graph.node or not model.ir_version:
        raise RejectedModel("not an ONNX model: it has no graph with operators; export the model again")
    return model


def _check_counts(model: ModelProto, limits: Limits) -> None:
    """Before anything walks through them."""
    if _depth(model.graph) > limits.depth or any(_depth(f) > limits.depth for f in model.functions):
        raise RejectedModel(f"graphs inside graphs more than {limits.depth} deep are not taken; export a flat graph")
    graphs = list(graphs_of(model.graph))
    counts = {
        "operators": sum(len(g.node) for g in graphs) + sum(len(f.node) for f in model.functions),
        "initializers": sum(len(g.initializer) for g in graphs),
        "functions": len(model.functions),
        "inputs and outputs": len(model.graph.input) + len(model.graph.output),
    }
    widest = max((len(n.input) + len(n.output) for g in (*graphs, *model.functions) for n in g.node), default=0)
    if widest > limits.ends:
        raise RejectedModel(f"an operator has {widest:,} inputs and outputs; at most {limits.ends:,} are taken")
    for what, number in counts.items():
        if number > limits.nodes:
            raise RejectedModel(f"{number:,} {what}; at most {limits.nodes:,} are taken")


def _depth(graph: GraphProto | FunctionProto) -> int:
    """How deep graphs stand inside each other; without recursion, for the file may be made to exhaust it."""
    level, depth = [graph], 0
    while level:
        level, depth = [g for outer in level for node in outer.node for g in graphs_in(node)], depth + 1
    return depth


def _check_structure(model: ModelProto, limits: Limits) -> None:
    if model.training_info:
        raise RejectedModel("training graphs are not taken; export a plain inference graph")
    functions = {(f.domain, f.name): f for f in model.functions}
    _check_functions(model, functions, limits)
    if any(g.sparse_initializer for g in graphs_of(model.graph)):
        raise RejectedModel("sparse initializers are not taken; export with dense weights")
    bodies = [*graphs_of(model.graph), *model.functions]
    for node in (n for body in bodies for n in body.node):
        if (node.domain, node.op_type) not in functions:
            _check_node(node, limits)
    for node in (n for graph in graphs_of(model.graph) for n in graph.node):
        if any(a.ref_attr_name for a in node.attribute):
            raise RejectedModel(f"{_where(node)}: an attribute stands for one of a function; export the model again")


def _check_node(node: NodeProto, limits: Limits) -> None:
    where = _where(node)
    if node.domain not in STANDARD:
        raise UnsupportedOperator(
            f"{where}: domain {shown(node.domain)} is not taken; export standard ONNX operators only"
        )
    if graphs_in(node) and node.op_type not in NEST:
        raise UnsupportedOperator(f"{where}: control flow is not taken; export the model without Loop or Scan")
    if any(a.HasField("sparse_tensor") or a.sparse_tensors for a in node.attribute):
        raise UnsupportedOperator(f"{where}: sparse tensors are not taken; export with dense weights")
    if node.op_type not in CONVERTERS and node.op_type not in COMPOSITES:
        raise UnsupportedOperator(f"{where}: this operator is not supported")
    _check_attributes(node, where, limits)


def _check_attributes(node: NodeProto, where: str, limits: Limits) -> None:
    if any(math.isnan(v) for a in node.attribute for v in (a.f, *a.floats)):
        raise RejectedModel(f"{where}: an attribute is NaN; export the model again")
    for attribute in node.attribute:
        if attribute.name in AXES and any(abs(n) > limits.rank for n in (attribute.i, *attribute.ints)):
            raise RejectedModel(f"{where}: {attribute.name} names an axis beyond {limits.rank}")
        if attribute.name == "equation" and not EQUATION.fullmatch(attribute.s):
            raise RejectedModel(f"{where}: its equation is none")
        most = limits.padding if "pad" in attribute.name else limits.window
        if attribute.name in WINDOW and any(abs(n) > most for n in attribute.ints):
            raise RejectedModel(f"{where}: {attribute.name} of {list(attribute.ints)[:6]} is not taken")
        if attribute.name == "kernel_shape" and math.prod(attribute.ints) > limits.window:
            raise RejectedModel(f"{where}: windows of {list(attribute.ints)[:6]} positions are not taken")


def _check_names(model: ModelProto, limits: Limits) -> None:
    """Protobuf hands out bytes where a name is not UTF-8."""
    graphs = list(graphs_of(model.graph))
    nodes = [n for body in (*graphs, *model.functions) for n in body.node]
    values = [v.name for g in graphs for v in (*g.initializer, *g.input, *g.output, *g.value_info)]
    kinds = [name for n in nodes for name in (n.op_type, n.domain, *(a.name for a in n.attribute))]
    ends = [name for n in nodes for name in (n.name, *n.input, *n.output)]
    functions = [name for f in model.functions for name in (f.name, f.domain, *f.input, *f.output)]
    for name in (*values, *kinds, *ends, *functions, *(o.domain for o in model.opset_import)):
        if not isinstance(name, str):
            raise RejectedModel("a name in the file is not text (UTF-8); export the model again")
        if len(name) > limits.length_of_name:
            raise RejectedModel(f"a name is longer than {limits.length_of_name:,} characters: {shown(name)}...")


def _where(node: NodeProto) -> str:
    kind = node.op_type if node.op_type.isidentifier() and node.op_type.isascii() else shown(node.op_type)
    return f"{kind[:100]} {shown(node.name or ', '.join(node.output))}"


def _check_functions(model: ModelProto, functions: dict[tuple[str, str], FunctionProto], limits: Limits) -> None:
    """How large the graph becomes when they are put in their places is known without doing it."""
    if any(f.domain in STANDARD for f in model.functions) or len(functions) != len(model.functions):
        raise RejectedModel("a model-local function bears the name of a standard operator, or of another function")
    sizes: dict[tuple[str, str], int] = {}
    for name in functions:
        _size(name, functions, sizes, ())
    calls = ((n.domain, n.op_type) for g in graphs_of(model.graph) for n in g.node)
    total = sum(sizes.get(call, _size_of_one(call)) for call in calls)
    if total > limits.nodes:
        raise RejectedModel(
            f"with its functions in their places the graph has {total:,} operators; at most {limits.nodes:,} are taken"
        )


def _size(
    name: tuple[str, str],
    functions: dict[tuple[str, str], FunctionProto],
    sizes: dict[tuple[str, str], int],
    above: tuple[tuple[str, str], ...],
) -> int:
    if name in above or len(above) > 100:
        raise RejectedModel(f"function {shown(name[1])} calls itself, or calls go too deep; export a flat graph")
    if name not in sizes:
        if any(graphs_in(node) for node in functions[name].node):
            raise RejectedModel(f"function {shown(name[1])} holds control flow, which is not taken")
        calls = ((n.domain, n.op_type) for n in functions[name].node)
        sizes[name] = sum(
            _size(c, functions, sizes, (*above, name)) if c in functions else _size_of_one(c) for c in calls
        )
    return sizes[name]


def _size_of_one(name: tuple[str, str]) -> int:
    """Nodes that a standard operator becomes."""
    return MOST_NODES if name[1] in COMPOSITES else 1


def _check_version(model: ModelProto, limits: Limits) -> None:
    if any(n > 1 for n in Counter(value.name for value in model.graph.output).values()):
        raise RejectedModel("an output of the graph is named twice; export the model again")
    domains = Counter("" if o.domain in STANDARD else o.domain for o in model.opset_import)
    if any(n > 1 for n in domains.values()):
        raise RejectedModel("an operator set is imported twice; export the model again")
    opset = opset_of(model)
    if not limits.oldest_opset <= opset <= limits.newest_opset:
        raise RejectedModel(
            f"opset {opset}: only {limits.oldest_opset} to {limits.newest_opset} are taken; export with opset 17"
        )
    if not 0 < model.ir_version <= limits.newest_ir:
        raise RejectedModel(f"IR version {model.ir_version}: at most {limits.newest_ir} is taken; export with opset 17")


def _check_tensors(model: ModelProto, limits: Limits, check: Callable[[TensorProto, str, Limits], None]) -> None:
    bodies = [*graphs_of(model.graph), *model.functions]
    for tensor in (t for g in graphs_of(model.graph) for t in g.initializer):
        check(tensor, f"tensor {shown(tensor.name)}", limits)
    for node in (n for body in bodies for n in body.node):
        for attribute in node.attribute:
            for tensor in [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]:
                check(tensor, f"tensor {shown(tensor.name)} of {_where(node)}", limits)


def _check_form(tensor: TensorProto, name: str, limits: Limits) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        how = "torch.onnx.export(..., external_data=False), or onnx.save"
        raise RejectedModel(f"{name} is kept in another file; save the model as one file: {how}")
    if len(tensor.dims) > limits.rank or min(tensor.dims, default=0) < 0 or _room(tensor) > limits.elements:
        raise RejectedModel(f"{name}: dimensions {list(tensor.dims)[: limits.rank]} are not taken")
    if tensor.data_type not in helper.get_all_tensor_dtypes() or tensor.data_type == TensorProto.STRING:
        raise RejectedModel(f"{name}: element type {tensor.data_type} is not taken")
    if tensor.HasField("segment"):
        raise RejectedModel(f"{name} is a segment of a larger tensor; save the model as one file")
    _check_filled(tensor, name)


def _room(tensor: TensorProto) -> int:
    """Elements, where an axis of length 0 counts as one: libraries multiply before they look."""
    return math.prod(max(d, 1) for d in tensor.dims)


def _check_filled(tensor: TensorProto, name: str) -> None:
    """Its values are as many as its dimensions say; nothing is decoded for that."""
    if TensorProto.DataType.Name(tensor.data_type) in PACKED:
        return
    elements = math.prod(tensor.dims)
    size = elements * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size:
            raise RejectedModel(
                f"{name}: {len(tensor.raw_data)} bytes do not fill dimensions {list(tensor.dims)}; export again"
            )
        return
    field = helper.tensor_dtype_to_field(tensor.data_type)
    parts = 2 if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) else 1
    if len(getattr(tensor, field)) != elements * parts:
        raise RejectedModel(f"{name}: its values do not fill dimensions {list(tensor.dims)}; export again")


def _check_finite(tensor: TensorProto, name: str, _: Limits) -> None:
    if tensor.data_type not in FLOATS:
        return
    values = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.BFLOAT16:
        values = values.astype(np.float32)
    # masks of attention are made of infinities, in single numbers or small tables: a weight is never
    if np.isnan(values).any() or (values.size > 1 and np.isposinf(values).any()):
        raise RejectedModel(f"{name} holds NaN or infinite values; the model was not trained to an end")


def _check_with_onnx(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker raises ValidationError, and RuntimeError from its C++ side
        raise RejectedModel(f"the ONNX checker refuses the file: {first_line(error)}") from error
