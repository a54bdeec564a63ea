"""An upload is hostile until vetted: cheap rules first, each refusal says which one and what to do."""

import math

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from pruning.errors import RejectedModel, UnsupportedOperator
from pruning.frozen import Frozen
from pruning.onnx.ops import CONVERTERS

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}


class Limits(Frozen):
    """What a model may be at most."""

    bytes: int = 2_000_000_000
    oldest_opset: int = 7
    newest_opset: int = 26
    newest_ir: int = 13
    nodes: int = 50_000
    elements: int = 2**31
    rank: int = 16


def vet(content: bytes, limits: Limits | None = None) -> ModelProto:
    """Parse from bytes and check; nothing else of this package touches an unvetted file.

    Never reads another file: external data is refused before anything would follow it.
    Raises: RejectedModel: the rule that was broken, the node, and what to do.
    """
    limits = limits or Limits()
    if len(content) > limits.bytes:
        raise RejectedModel(f"the file has {len(content):,} bytes; at most {limits.bytes:,} are taken")
    model = _parse(content)
    _check_version(model, limits)
    _check_structure(model, limits)
    for tensor in tensors_of(model.graph):
        _check_tensor(tensor, limits)
    _check_with_onnx(model)
    return model


def tensors_of(graph: GraphProto) -> list[TensorProto]:
    """Initializers, and the tensors inside attributes (Constant nodes among them)."""
    attributes = [a for node in graph.node for a in node.attribute]
    return [
        *graph.initializer,
        *(a.t for a in attributes if a.HasField("t")),
        *(t for a in attributes for t in a.tensors),
    ]


def opset_of(model: ModelProto) -> int:
    """Version of the default operator set."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _parse(content: bytes) -> ModelProto:
    try:
        model = ModelProto.FromString(content)
    except Exception as error:  # protobuf raises a DecodeError of its C extension
        raise RejectedModel(
            "not an ONNX file, or a truncated one: it does not parse; export the model again"
        ) from error
    if not model.graph.node or not model.ir_version:
        raise RejectedModel("not an ONNX model: it has no graph with operators; export the model again")
    return model


def _check_version(model: ModelProto, limits: Limits) -> None:
    opset = opset_of(model)
    if not limits.oldest_opset <= opset <= limits.newest_opset:
        raise RejectedModel(
            f"opset {opset}: only {limits.oldest_opset} to {limits.newest_opset} are taken; export with opset 17"
        )
    if model.ir_version > limits.newest_ir:
        raise RejectedModel(f"IR version {model.ir_version}: at most {limits.newest_ir} is taken; export with opset 17")


def _check_structure(model: ModelProto, limits: Limits) -> None:
    if model.functions or model.training_info:
        raise RejectedModel("model-local functions and training graphs are not taken; export a plain inference graph")
    for what, number in {"operators": len(model.graph.node), "initializers": len(model.graph.initializer)}.items():
        if number > limits.nodes:
            raise RejectedModel(f"{number:,} {what}; at most {limits.nodes:,} are taken")
    if model.graph.sparse_initializer:
        raise RejectedModel("sparse initializers are not taken; export with dense weights")
    for node in model.graph.node:
        where = f"{node.op_type} {node.name or ', '.join(node.output)!r}"
        if node.domain not in ("", "ai.onnx"):
            raise UnsupportedOperator(
                f"{where}: domain {node.domain!r} is not taken; export standard ONNX operators only"
            )
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise UnsupportedOperator(f"{where}: control flow is not taken; export the model without If, Loop or Scan")
        if any(a.HasField("sparse_tensor") or a.sparse_tensors for a in node.attribute):
            raise UnsupportedOperator(f"{where}: sparse tensors are not taken; export with dense weights")
        if node.op_type not in CONVERTERS:
            raise UnsupportedOperator(f"{where}: this operator is not supported")


def _check_tensor(tensor: TensorProto, limits: Limits) -> None:
    name = f"tensor {tensor.name!r}"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise RejectedModel(f"{name} is kept in another file; save the model as one file (save_as_external_data=False)")
    elements = math.prod(tensor.dims)
    if any(d < 0 for d in tensor.dims) or elements > limits.elements or len(tensor.dims) > limits.rank:
        raise RejectedModel(f"{name}: dimensions {list(tensor.dims)} are not taken")
    if tensor.data_type not in helper.get_all_tensor_dtypes() or tensor.data_type == TensorProto.STRING:
        raise RejectedModel(f"{name}: element type {tensor.data_type} is not taken")
    if not tensor.raw_data and elements == 0:
        return
    size = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if tensor.raw_data and len(tensor.raw_data) != elements * size:
        raise RejectedModel(
            f"{name}: {len(tensor.raw_data)} bytes do not fill dimensions {list(tensor.dims)}; export again"
        )
    if tensor.data_type in FLOATS:
        _check_finite(tensor, name)


def _check_finite(tensor: TensorProto, name: str) -> None:
    try:
        values = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise RejectedModel(f"{name}: its values do not fill dimensions {list(tensor.dims)}; export again") from error
    if not np.isfinite(values).all():
        raise RejectedModel(f"{name} holds NaN or infinite values; the model was not trained to an end")


def _check_with_onnx(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker raises ValidationError, and RuntimeError from its C++ side
        first = str(error).strip().split("\n")[0][:300]
        raise RejectedModel(f"the ONNX checker refuses the file: {first}") from error
