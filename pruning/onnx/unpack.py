"""A packed file back to plain stored tensors."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnxruntime as ort
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper, shape_inference

from pruning.errors import OutOfMemory, RejectedModel, first_line, is_out_of_memory
from pruning.onnx.graphs import graphs_of
from pruning.onnx.vet import STANDARD

MARK = "secateur"  # key in the file's metadata; its value is how many nodes, the first ones, decode
BRIEF_MARK = "~"  # or the first letter of the graph's name, before that number
DECODED, COMPUTED = 2**28, 2**31  # elements at most: of what is decoded, and of all values on the way there
OPERATORS = {
    *("Add", "BitwiseAnd", "Cast", "ConstantOfShape", "CumSum", "Div", "Expand", "Gather", "MatMul", "Mod", "Mul"),
    *("Pad", "Reshape", "ScatterElements", "Sign", "Slice", "Split", "Sub", "TopK"),
}
AGAIN = "; upload the file that was packed, or pack it again"


def unpack(model: ModelProto) -> ModelProto:
    """A copy whose weights are initializers again, under the names that nodes use; a file that is not packed as it is.

    Args: model: vetted. Raises: RejectedModel: the decoder is none of ours, or would decode too much; OutOfMemory.
    """
    number = mark_of(model)
    if number is None:
        return model
    if not (number.isascii() and number.isdigit() and len(number) < 6 and 0 < int(number) <= len(model.graph.node)):
        raise RejectedModel(f"the file is marked as packed and does not say by how many nodes{AGAIN}")
    decoder = _decoder(model, int(number))
    return _with(model, int(number), _decoded(decoder))


def mark_of(model: ModelProto) -> str | None:
    """How many nodes decode, as the file says it; None in a file that is not packed."""
    if model.graph.name.startswith(BRIEF_MARK):
        return model.graph.name.removeprefix(BRIEF_MARK)
    return next((p.value for p in model.metadata_props if p.key == MARK), None)


def brief_mark(model: ModelProto) -> None:
    """Move the mark to the graph's name, where it takes fewer bytes."""
    for at, pair in enumerate(model.metadata_props):
        if pair.key == MARK:
            model.graph.name = BRIEF_MARK + pair.value
            del model.metadata_props[at]
            return


def _decoder(model: ModelProto, number: int) -> ModelProto:
    """The first nodes as a model without inputs, and with known shapes."""
    graph = model.graph
    nodes = graph.node[:number]
    if any(n.op_type not in OPERATORS or n.domain not in STANDARD for n in nodes):
        raise RejectedModel(f"the file is marked as packed and decodes with other operators than ours{AGAIN}")
    result = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    _check_products(nodes, {t.name for t in graph.initializer if len(t.dims) == 1})
    _check_divisors(nodes, {t.name: t for t in graph.initializer})
    read = {name for node in nodes for name in node.input}
    made = {name for node in nodes for name in node.output}
    given = {i.name for i in graph.input}
    constants = [t for t in graph.initializer if t.name in read and t.name not in given]
    if read - made - {t.name for t in constants}:
        raise RejectedModel(f"the file is marked as packed and decodes something that is not stored in it{AGAIN}")
    result.graph.name = "decoder"
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(constants)
    asked = made & set(_reads(model, number))
    result.graph.output.extend(value for value in _shapes(result) if value.name in asked)
    if sum(math.prod(_dims(value)) for value in result.graph.output) > DECODED:
        raise RejectedModel(f"the file decodes to more than {DECODED:,} numbers; unpack it yourself and prune a part")
    return result


def _check_products(nodes: Sequence[NodeProto], vectors: set[str]) -> None:
    """Two large matrices could keep a machine busy for hours."""
    if any(n.op_type == "MatMul" and set(n.input[1:]) - vectors for n in nodes):
        raise RejectedModel(f"the file is marked as packed and multiplies by what is no stored vector{AGAIN}")


def _check_divisors(nodes: Sequence[NodeProto], stored: Mapping[str, TensorProto]) -> None:
    """The lowest whole number divided by -1 stops the process, and nobody could say why."""
    for name in (name for n in nodes if n.op_type in ("Div", "Mod") for name in n.input[1:]):
        if name not in stored or not (numpy_helper.to_array(stored[name]) > 0).all():
            raise RejectedModel(f"the file is marked as packed and divides by what is no stored positive number{AGAIN}")


def _shapes(decoder: ModelProto) -> list[ValueInfoProto]:
    """Of all values that it computes; all of them are known."""
    try:
        values = list(shape_inference.infer_shapes(decoder, strict_mode=True).graph.value_info)
    except Exception as error:  # InferenceError, and RuntimeError from the C++ side
        raise RejectedModel(f"the shapes of the decoder do not fit together: {first_line(error)}{AGAIN}") from error
    known = {value.name: math.prod(_dims(value)) for value in values}
    if any(name not in known for node in decoder.graph.node for name in node.output):
        raise RejectedModel(f"the file is marked as packed and does not say how much it decodes{AGAIN}")
    if sum(known.values()) > COMPUTED:
        raise RejectedModel(f"decoding the file takes more than {COMPUTED:,} numbers; upload it unpacked")
    return values


def _dims(value: ValueInfoProto) -> list[int]:
    """Raises: RejectedModel: one is not known."""
    dims = value.type.tensor_type.shape.dim
    if not value.type.tensor_type.HasField("shape") or not all(d.HasField("dim_value") for d in dims):
        raise RejectedModel(f"the file is marked as packed and does not say how much it decodes{AGAIN}")
    return [d.dim_value for d in dims]


def _decoded(decoder: ModelProto) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    names = [value.name for value in decoder.graph.output]
    try:
        s = ort.InferenceSession(decoder.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(names, s.run(names, {}), strict=True))  # type: ignore[arg-type]
    except Exception as error:  # ONNX Runtime raises a dozen classes of its own, with no common base
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise RejectedModel(f"the packed file cannot be decoded: {first_line(error)}{AGAIN}") from error


def _with(model: ModelProto, number: int, decoded: dict[str, np.ndarray]) -> ModelProto:
    """The model with tensors in the place of its first nodes, and without what only those read."""
    left = set(_reads(model, number))
    result = ModelProto()
    for field, value in model.ListFields():
        if field.name not in ("graph", "metadata_props"):
            _set(result, field.name, value)
    result.metadata_props.extend(p for p in model.metadata_props if p.key != MARK)
    for field, value in model.graph.ListFields():
        if field.name not in ("node", "initializer"):
            _set(result.graph, field.name, value)
    if result.graph.name.startswith(BRIEF_MARK):
        result.graph.name = "g"
    result.graph.node.extend(model.graph.node[number:])
    given = {i.name for i in model.graph.input}
    result.graph.initializer.extend(t for t in model.graph.initializer if t.name in left | given)
    result.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in decoded.items())
    return result


def _set(proto: ModelProto | GraphProto, name: str, value: object) -> None:
    """A field of one message as it is in another."""
    if hasattr(value, "extend"):
        getattr(proto, name).extend(value)
    elif hasattr(value, "CopyFrom"):
        getattr(proto, name).CopyFrom(value)
    else:
        setattr(proto, name, value)


def _reads(model: ModelProto, start: int) -> Iterator[str]:
    """Names of values that are asked for by the nodes from this one on, by graphs inside them, and as outputs."""
    yield from (port.name for port in model.graph.output)
    yield from (name for node in model.graph.node[start:] for name in node.input)
    _, *inner = graphs_of(model.graph)
    yield from (name for graph in inner for node in graph.node for name in node.input)
    yield from (port.name for graph in inner for port in graph.output)
