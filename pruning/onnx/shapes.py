"""What is known of a graph's sizes without running it: shapes, and the small tensors that shapes are computed from."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator

from pruning.onnx.sizes import skeleton
from pruning.onnx.vet import opset_of

Shape = tuple[int, ...]

SYMBOL = -1_000_000  # from here down to twice that: a dimension known only at run time, one number for each
LARGEST = 1024  # elements of a tensor that shapes are computed from
INTEGERS = (TensorProto.INT32, TensorProto.INT64)
MOVES = {"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
COMPUTES = {"Add", "Cast", "ConstantOfShape", "Div", "Mod", "Mul", "Shape", "Sub"}


def is_symbol(numbers: np.ndarray | int) -> np.ndarray:
    """Which of them stand for dimensions known only at run time."""
    return (np.asarray(numbers) <= SYMBOL) & (np.asarray(numbers) > 2 * SYMBOL)


def shapes_of(model: ModelProto) -> dict[str, Shape]:
    """Shapes of values whose rank is known; equal symbols are equal dimensions. None if declared ones are wrong."""
    return _inferred(skeleton(model))


def enforced_shapes(model: ModelProto) -> dict[str, Shape]:
    """As shapes_of, but from the inputs alone: ONNX Runtime gives outputs of other shapes than the graph declares."""
    bare = skeleton(model)
    for port in bare.graph.output:
        port.type.tensor_type.ClearField("shape")
    return _inferred(bare)


def _inferred(bare: ModelProto) -> dict[str, Shape]:
    try:
        inferred = shape_inference.infer_shapes(bare).graph
        if not _computes_much(inferred):
            inferred = shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # noqa: BLE001  # InferenceError, and RuntimeError from the C++ side
        return {}
    symbols: dict[str, int] = {}
    found = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            names = [d.dim_param or f"{value.name}.{i}" for i, d in enumerate(dims)]
            found[value.name] = tuple(
                d.dim_value if d.dim_value > 0 else symbols.setdefault(name, SYMBOL - len(symbols))
                for d, name in zip(dims, names, strict=True)
            )
    return found


def _computes_much(graph: GraphProto) -> bool:
    """Whether whole numbers stand in long vectors; inference would hold each of them."""
    kinds = [value.type.tensor_type for value in graph.value_info]
    vectors = [kind for kind in kinds if kind.elem_type in INTEGERS and len(kind.shape.dim) == 1]
    return any(kind.shape.dim[0].dim_value > LARGEST for kind in vectors)


def folded(model: ModelProto, node: NodeProto, known: Mapping[str, np.ndarray]) -> Sequence[np.ndarray] | None:
    """What a node gives that reads small known tensors alone; symbols are moved but never computed with."""
    if node.op_type == "Constant" and node.attribute[0].name in ("value_int", "value_ints", "value_float"):
        return evaluated(model, node, {})
    inputs = {name: known.get(name) for name in node.input if name}
    tensors = {name: values for name, values in inputs.items() if values is not None and values.size <= LARGEST}
    if node.op_type not in MOVES | COMPUTES or not inputs or tensors.keys() != inputs.keys():
        return None
    if not _moves(node) and any(map(_has_symbol, tensors.values())):
        return None
    if node.op_type != "Concat" and any(_has_symbol(tensors[name]) for name in node.input[1:] if name):
        return None  # it would say what to move, and where
    if node.op_type == "ConstantOfShape" and math.prod(tensors[node.input[0]].reshape(-1).tolist()) > LARGEST:
        return None
    return evaluated(model, node, tensors)


def _has_symbol(values: np.ndarray) -> bool:
    return values.dtype.kind == "i" and bool(is_symbol(values).any())


def _moves(node: NodeProto) -> bool:
    to = next((a.i for a in node.attribute if a.name == "to"), TensorProto.FLOAT)
    return node.op_type in MOVES or (node.op_type == "Cast" and to in (TensorProto.INT32, TensorProto.INT64))


def evaluated(model: ModelProto, node: NodeProto, tensors: Mapping[str, np.ndarray]) -> Sequence[np.ndarray] | None:
    """What a node gives for these inputs, in their types; None where the reference does not know its form."""
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(t.dtype), t.shape)
        for name, t in tensors.items()
    ]
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in node.output]
    graph = helper.make_graph([node], "folded", ports, outputs)
    try:
        opset = [helper.make_opsetid("", opset_of(model))]
        found = ReferenceEvaluator(helper.make_model(graph, opset_imports=opset)).run(None, dict(tensors))
    except Exception:  # noqa: BLE001  # whatever the reference makes of a form that it does not know
        return None
    return [np.asarray(values) for values in found]  # type: ignore[union-attr]
