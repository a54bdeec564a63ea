"""What is in a delivered file, counted there and not in memory."""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, helper
from torch import Tensor

from pruning.errors import WrongDelivery
from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import values_of
from pruning.onnx.network import Network, Source
from pruning.quantize import levels_in
from pruning.report import LayerReport


@dataclass(frozen=True)
class Tally:
    """zeros: that are left in the weights of the file's layers; removed: filters and neurons that it has no more."""

    layers: list[LayerReport]
    zeros: int
    removed: int


def tally(content: bytes, network: Network, quantized: bool) -> Tally:
    """Raises: WrongDelivery: it was quantized, but its values are on no levels."""
    tensors = stored_tensors(ModelProto.FromString(content))
    layers, zeros, removed = [], 0, 0
    for layer in network.layers.values():
        source, tensor = network.sources[network.weights[layer.name]], tensors[layer.weight]
        is_whole = tuple(tensor.dims) == source.shape
        values = (source.read(values_of(tensor)) if is_whole else values_of(tensor)).numpy()
        kept, stored = int(np.count_nonzero(values)), helper.tensor_dtype_to_np_dtype(tensor.data_type)
        zeros, gone = zeros + values.size - kept, _fewer(layer.kind, source, tuple(tensor.dims))
        removed += gone
        found = LayerReport(
            name=layer.name,
            kind=layer.kind,
            weights=layer.weights,
            kept=kept,
            stored=values.size,
            sparsity=1 - kept / layer.weights,
            bits=_bits(values.astype(stored)) if quantized else 8 * stored.itemsize,
            filters_removed=gone,
        )
        layers.append(found)
    return Tally(layers, zeros, removed)


def weights_of(content: bytes, network: Network) -> dict[str, Tensor]:
    """Of the layers, as the file holds them, in the shapes that the layers have."""
    tensors = stored_tensors(ModelProto.FromString(content))
    sources = {name: network.sources[parameter] for name, parameter in network.weights.items()}
    return {name: source.read(values_of(tensors[source.tensor])) for name, source in sources.items()}


def _fewer(kind: str, source: Source, dims: tuple[int, ...]) -> int:
    """Filters that a stored tensor has lost: its rank may be another by now, but filters stay where they were.

    Dense weights are stored transposed where they had to be moved.
    """
    axis = 1 if kind == "conv_transpose" else -1 if source.moves else 0
    return source.shape[axis] - dims[axis]


def _bits(values: np.ndarray) -> int:
    bits = levels_in(values)
    if bits is None:
        raise WrongDelivery
    return bits
