"""Trained weights back into the user's own graph: nodes, names, opset and metadata stay."""

import numpy as np
from onnx import ModelProto, TensorProto, helper

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
        values = values.T if source.transposed else values
        _set_values(tensors[source.tensor], values)
    return result


def _set_values(tensor: TensorProto, values: np.ndarray) -> None:
    """Replace the values and nothing else, in the tensor's own type."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    for typed in ("float_data", "double_data", "int32_data"):
        tensor.ClearField(typed)
    tensor.raw_data = np.ascontiguousarray(values, dtype=dtype.newbyteorder("<")).tobytes()
