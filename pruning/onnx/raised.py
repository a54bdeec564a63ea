"""A model in the opset that decoding needs."""

from onnx import ModelProto, defs, version_converter

from pruning.errors import NotPacked, first_line
from pruning.onnx.graphs import graphs_of
from pruning.onnx.vet import STANDARD, opset_of

OLDEST, RAISED = 11, 13  # CumSum and ScatterElements are of opset 11
BRIEF, BRIEF_IR = 18, 8  # with BitwiseAnd bits are decoded by fewer nodes
# operators that mean the same from opset 7 to 18, but for the types and attributes that were added
SAME = {
    *("Add", "AveragePool", "BatchNormalization", "Concat", "Constant", "Conv", "ConvTranspose", "Div", "Elu"),
    *("Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MatMul", "MaxPool", "Mul"),
    *("Relu", "Reshape", "Sigmoid", "Sub", "Tanh", "Transpose"),
}


def raised(model: ModelProto) -> ModelProto:
    """The model itself where its opset will do, else a copy in a newer one, whose initializers are no inputs.

    Raises: NotPacked: it cannot be raised.
    """
    if opset_of(model) >= OLDEST:
        return model
    if (same := in_brief(model)) is not None:
        return same
    try:
        return version_converter.convert_version(_with_inputs_only(model), RAISED)
    except Exception as error:  # the C++ side raises RuntimeError, and others
        raise NotPacked(
            f"opset {opset_of(model)} cannot be raised to {RAISED}, which decoding needs "
            f"({first_line(error)}); export with opset 17"
        ) from error


def in_brief(model: ModelProto) -> ModelProto | None:
    """A copy in opset 18, where nothing but the number changes by that; None elsewhere."""
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node]
    if not 7 <= opset_of(model) < BRIEF or model.functions or not {n.op_type for n in nodes} <= SAME:
        return None
    if any(len(n.output) > 1 for n in nodes) or any(n.domain not in STANDARD for n in nodes):
        return None
    for node in nodes:
        if {a.name for a in node.attribute} - set(defs.get_schema(node.op_type, BRIEF, "").attributes):
            return None
    result = _with_inputs_only(model)
    result.ir_version = max(model.ir_version, BRIEF_IR)
    for imported in result.opset_import:
        if imported.domain in STANDARD:
            imported.version = BRIEF
    return result


def _with_inputs_only(model: ModelProto) -> ModelProto:
    """Initializers are no inputs of the graph, which is allowed since IR version 4."""
    result = ModelProto()
    result.CopyFrom(model)
    result.ir_version = max(model.ir_version, 7)
    names = {t.name for t in model.graph.initializer}
    inputs = [i for i in result.graph.input if i.name not in names]
    del result.graph.input[:]
    result.graph.input.extend(inputs)
    return result
