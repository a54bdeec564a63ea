"""One way to say things before a graph is converted: functions inlined, very old opsets raised, shapes known."""

from onnx import ModelProto, shape_inference, version_converter

from pruning.errors import RejectedModel, first_line
from pruning.onnx.inline import without_composites, without_functions
from pruning.onnx.sizes import skeleton
from pruning.onnx.vet import opset_of

OLDEST_CONVERTED = 7  # older operators have other forms, which the converters do not know


def normalise(model: ModelProto) -> ModelProto:
    """A model that computes the same with local functions in their places and opset 7 or later.

    Stored tensors keep their names. Raises: RejectedModel: it cannot be brought to a newer opset.
    """
    model = without_composites(without_functions(model))
    if opset_of(model) < OLDEST_CONVERTED:
        try:
            model = version_converter.convert_version(_with_known_dims(model), OLDEST_CONVERTED + 1)
        except Exception as error:  # the C++ side raises RuntimeError, and others
            raise RejectedModel(
                f"opset {opset_of(model)} cannot be raised ({first_line(error)}); export with opset 17"
            ) from error
    return model


def _with_known_dims(model: ModelProto) -> ModelProto:
    """The version converter stops at symbolic dimensions; what it does depends on ranks alone."""
    result = ModelProto()
    result.CopyFrom(model)
    for value in (*result.graph.input, *result.graph.output, *result.graph.value_info):
        for d in value.type.tensor_type.shape.dim:
            if not d.dim_value:
                d.dim_value = 1
    return result


def literal_shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of values that shape inference knows in full; none where it finds that declared shapes are wrong."""
    try:
        inferred = shape_inference.infer_shapes(skeleton(model)).graph
    except Exception:  # noqa: BLE001  # InferenceError, and RuntimeError from the C++ side
        return {}
    found = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            found[value.name] = tuple(d.dim_value for d in dims)
    return found
