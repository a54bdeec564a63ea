"""Trained weights back into the user's own graph: nodes, names, opset and metadata stay."""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruning.onnx.convert import stored_tensors
from pruning.onnx.network import Network


def write_back(model: ModelProto, network: Network) -> ModelProto:
    """A copy of the model with the network's parameters and running statistics, in the types they came in."""
    result = ModelProto()
    result.CopyFrom(model)
    tensors = stored_tensors(result)
    state = network.module.state_dict()
    for name, source in network.sources.items():
        values = state[name].detach().cpu().contiguous().numpy()
        tensor = tensors[source.tensor]
        _set_values(tensor, source.write(_present(tensor, source.moves), values))
    return result


def _present(tensor: TensorProto, moves: tuple[object, ...]) -> np.ndarray:
    """What the file holds now: needed where only some of a tensor's elements are written."""
    return numpy_helper.to_array(tensor) if moves else np.empty(tuple(tensor.dims), dtype=np.float32)


def _set_values(tensor: TensorProto, values: np.ndarray) -> None:
    """Replace the values and nothing else, in the tensor's own type."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    for typed in ("float_data", "double_data", "int32_data"):
        tensor.ClearField(typed)
    tensor.raw_data = np.ascontiguousarray(values, dtype=dtype.newbyteorder("<")).tobytes()
