"""How large the values of a graph become, found without computing any: shape inference on a bare copy."""

import math

import onnx
from onnx import GraphProto, ModelProto, helper

from pruning.errors import RejectedModel, first_line
from pruning.onnx.graphs import graphs_of
from pruning.onnx.inline import without_functions
from pruning.onnx.work import ASSUMED, check_work

LARGE = 1024  # elements from which on an initializer's values say nothing about shapes


def check_sizes(model: ModelProto, most: int, rank: int, assumed: int = ASSUMED) -> None:
    """A small file can ask for terabytes: no value may have more elements than `most`, or more axes than `rank`.

    Nor for hours: see check_work. Functions are looked at in their places.
    Args: assumed: takes the place of dimensions of inputs that are known only at run time.
    Raises: RejectedModel.
    """
    _check(model.graph, most, rank)
    bare = without_functions(skeleton(model, assumed))
    _tell_branches(bare.graph)
    try:
        graph = onnx.shape_inference.infer_shapes(bare).graph
    except Exception as error:  # InferenceError, and RuntimeError from the C++ side
        raise RejectedModel(f"the shapes of the graph do not fit together: {first_line(error)}") from error
    _check(graph, most, rank)
    check_work(graph, most)


def skeleton(model: ModelProto, assumed: int | None = None) -> ModelProto:
    """The model with its large initializers turned into inputs: quick to copy, and enough for shapes.

    Args: assumed: takes the place of dimensions of inputs that are known only at run time, but for the batch.
    """
    result = ModelProto(ir_version=max(model.ir_version, 4))
    result.opset_import.extend(model.opset_import)
    result.functions.extend(model.functions)
    inputs = {i.name for i in model.graph.input}
    result.graph.name = model.graph.name
    result.graph.node.extend(model.graph.node)
    result.graph.input.extend(model.graph.input)
    result.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= LARGE:
            result.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            shape = [int(d) for d in tensor.dims]
            result.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    for axis, dim in (pair for i in result.graph.input for pair in enumerate(i.type.tensor_type.shape.dim)):
        if assumed and dim.dim_value <= 0:  # some exporters write -1
            dim.dim_value = assumed if axis else ASSUMED
    return result


def _tell_branches(graph: GraphProto) -> None:
    """Inference sees only those numbers of a graph inside a node that stand in that graph."""
    known = {t.name: t for t in graph.initializer}
    for inner in list(graphs_of(graph))[1:]:
        read = {name for node in inner.node for name in node.input} - {t.name for t in inner.initializer}
        inner.initializer.extend(known[name] for name in sorted(read & known.keys()))


def _check(graph: GraphProto, most: int, rank: int) -> None:
    values = (value for g in graphs_of(graph) for value in (*g.input, *g.value_info, *g.output))
    for value in values:
        dims = [d.dim_value or ASSUMED for d in value.type.tensor_type.shape.dim]
        if len(dims) > rank or math.prod(abs(d) for d in dims) > most:
            raise RejectedModel(
                f"value {value.name[:100]!a} would have dimensions {dims[:rank]}; at most {most:,} elements are taken"
            )
