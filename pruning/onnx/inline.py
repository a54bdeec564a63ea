"""Functions put in the places of the nodes that call them."""

from onnx import ModelProto, inliner

from pruning.errors import RejectedModel, UnsupportedOperator, first_line
from pruning.onnx.graphs import graphs_of

# operators that ONNX itself defines by a graph of others
COMPOSITES = ("Attention", "CenterCropPad", "RotaryEmbedding")
MOST_NODES = 100  # that one of them becomes


def without_functions(model: ModelProto) -> ModelProto:
    """A model without functions of its own. Raises: RejectedModel."""
    if not model.functions:
        return model
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the C++ side raises RuntimeError
        raise RejectedModel(
            f"the file's own functions cannot be put in their places ({first_line(error)}); export a flat graph"
        ) from error


def without_composites(model: ModelProto) -> ModelProto:
    """A model with the graphs of others in place of COMPOSITES. Raises: UnsupportedOperator."""
    present = {node.op_type for graph in graphs_of(model.graph) for node in graph.node} & set(COMPOSITES)
    if not present:
        return model
    try:
        named = [("", op) for op in sorted(present)]
        return inliner.inline_selected_functions(model, named, inline_schema_functions=True)
    except Exception as error:  # as above
        raise UnsupportedOperator(f"{', '.join(sorted(present))}: this form is not supported") from error
