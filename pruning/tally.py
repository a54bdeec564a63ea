"""What is in a delivered file, counted there and not in memory."""

import numpy as np
from onnx import ModelProto, helper
from torch import Tensor

from pruning.errors import WrongDelivery
from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import values_of
from pruning.onnx.network import Network
from pruning.quantize import levels_in
from pruning.report import LayerReport


def tally(content: bytes, network: Network, quantized: bool) -> list[LayerReport]:
    """Of each layer. Raises: WrongDelivery: it was quantized, but its values are on no levels."""
    tensors, weights = stored_tensors(ModelProto.FromString(content)), weights_of(content, network)
    found = []
    for layer in network.layers.values():
        values = weights[layer.name].numpy()
        kept = int(np.count_nonzero(values))
        stored = 8 * helper.tensor_dtype_to_np_dtype(tensors[layer.weight].data_type).itemsize
        found.append(
            LayerReport(
                name=layer.name,
                kind=layer.kind,
                weights=values.size,
                kept=kept,
                sparsity=1 - kept / values.size,
                bits=_bits(values) if quantized else stored,
                filters_removed=_empty_filters(values) if layer.kind in ("conv", "dense") else 0,
            )
        )
    return found


def weights_of(content: bytes, network: Network) -> dict[str, Tensor]:
    """Of the layers, as the file holds them, in the shapes that the layers have."""
    tensors = stored_tensors(ModelProto.FromString(content))
    sources = {name: network.sources[parameter] for name, parameter in network.weights.items()}
    return {name: source.read(values_of(tensors[source.tensor])) for name, source in sources.items()}


def _bits(values: np.ndarray) -> int:
    bits = levels_in(values)
    if bits is None:
        raise WrongDelivery
    return bits


def _empty_filters(values: np.ndarray) -> int:
    return int((~values.reshape(len(values), -1).any(axis=1)).sum())
