"""How large the values of a graph become, found without computing any: shape inference on a bare copy."""

import math

import onnx
from onnx import GraphProto, ModelProto, helper

from pruning.errors import RejectedModel, first_line

LARGE = 1024  # elements from which on an initializer's values say nothing about shapes
ASSUMED = 2  # of a dimension known only at run time


def check_sizes(model: ModelProto, most: int, rank: int, assumed: int = ASSUMED) -> None:
    """A small file can ask for terabytes: no value may have more elements than `most`, or more axes than `rank`.

    Args: assumed: takes the place of dimensions of inputs that are known only at run time.
    Raises: RejectedModel.
    """
    _check(model.graph, most, rank)
    try:
        graph = onnx.shape_inference.infer_shapes(skeleton(model, assumed)).graph
    except Exception as error:  # InferenceError, and RuntimeError from the C++ side
        raise RejectedModel(f"the shapes of the graph do not fit together: {first_line(error)}") from error
    _check(graph, most, rank)


def skeleton(model: ModelProto, assumed: int | None = None) -> ModelProto:
    """The model with its large initializers turned into inputs: quick to copy, and enough for shapes.

    Args: assumed: takes the place of dimensions of inputs that are known only at run time.
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
    for dim in (d for i in result.graph.input for d in i.type.tensor_type.shape.dim):
        if assumed and dim.dim_value <= 0:  # some exporters write -1
            dim.dim_value = assumed
    return result


def _check(graph: GraphProto, most: int, rank: int) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = [d.dim_value or ASSUMED for d in value.type.tensor_type.shape.dim]
        if len(dims) > rank or math.prod(abs(d) for d in dims) > most:
            raise RejectedModel(
                f"value {value.name[:100]!a} would have dimensions {dims[:rank]}; at most {most:,} elements are taken"
            )
