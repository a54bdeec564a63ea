"""Trained weights back into the user's own graph: nodes, names, opset and metadata stay."""

import numpy as np
from onnx import ModelProto, numpy_helper

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
        target = tensors[source.tensor]
        kept_name, doc = target.name, target.doc_string
        dtype = numpy_helper.to_array(target).dtype
        target.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.astype(dtype)), kept_name))
        target.doc_string = doc
    return result
