"""How large the values of a graph become, found without computing any: shape inference on a bare copy."""

import math
from collections.abc import Callable, Mapping

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper

from pruning.errors import RejectedModel, first_line

LARGE = 1024  # elements from which on an initializer's values say nothing about shapes
ASSUMED = 2  # of a dimension known only at run time
MOST_TOGETHER = 2**33  # elements of all values: half a minute to compute once, where each takes little
MOST_PRODUCTS = 2**39  # twenty times those of a VGG-16 for two examples
Shapes = Mapping[str, tuple[int, ...]]


def check_sizes(model: ModelProto, most: int, rank: int, assumed: int = ASSUMED) -> None:
    """A small file can ask for terabytes: no value may have more elements than `most`, or more axes than `rank`.

    Nor for hours: elements and products of all operators together are limited too, as far as shapes are known.
    Args: assumed: takes the place of dimensions of inputs that are known only at run time.
    Raises: RejectedModel.
    """
    _check(model.graph, most, rank)
    try:
        graph = onnx.shape_inference.infer_shapes(skeleton(model, assumed)).graph
    except Exception as error:  # InferenceError, and RuntimeError from the C++ side
        raise RejectedModel(f"the shapes of the graph do not fit together: {first_line(error)}") from error
    _check(graph, most, rank)
    _check_work(graph)


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


def _check_work(graph: GraphProto) -> None:
    values = {
        v.name: tuple(d.dim_value or ASSUMED for d in v.type.tensor_type.shape.dim)
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    elements = sum(math.prod(shape) for shape in values.values())
    if elements > MOST_TOGETHER:
        raise RejectedModel(
            f"the values of the graph have {elements:,} elements together; at most {MOST_TOGETHER:,} are taken: "
            "export a smaller model, or one for smaller inputs"
        )
    shapes = {**values, **{t.name: tuple(t.dims) for t in graph.initializer}}
    products = sum(PRODUCTS[node.op_type](node, shapes) for node in graph.node if node.op_type in PRODUCTS)
    if products > MOST_PRODUCTS:
        raise RejectedModel(
            f"the graph takes {products:,} multiply-adds for {ASSUMED} examples; at most {MOST_PRODUCTS:,} are taken: "
            "export a smaller model, or one for smaller inputs"
        )


def _of_matrices(node: NodeProto, shapes: Shapes) -> int:
    return _made(node, shapes) * max(shapes.get(node.input[0], ())[-2:], default=0)


def _of_windows(node: NodeProto, shapes: Shapes) -> int:
    return _made(node, shapes) * math.prod(shapes.get(node.input[1], (0, 0))[1:])


def _of_spread_windows(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes.get(node.input[0], (0,))) * math.prod(shapes.get(node.input[1], (0, 0))[1:])


def _of_pools(node: NodeProto, shapes: Shapes) -> int:
    window = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
    return _made(node, shapes) * math.prod(window)


def _made(node: NodeProto, shapes: Shapes) -> int:
    """Elements of its output; 0: not known."""
    return math.prod(shapes.get(node.output[0], (0,)))


PRODUCTS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "MatMul": _of_matrices,
    "Gemm": _of_matrices,
    "Conv": _of_windows,
    "ConvTranspose": _of_spread_windows,
    "MaxPool": _of_pools,
    "AveragePool": _of_pools,
    "LpPool": _of_pools,
}
