"""Which weights of a network could change an output: those of its graph, whatever zeros there are."""

import copy

import torch
from onnx import ModelProto
from torch import Tensor

from pruning.onnx import batchnorm
from pruning.onnx.network import Network
from pruning.onnx.shrink import idle
from pruning.onnx.writeback import write_back


def useful_weights(model: ModelProto, network: Network) -> dict[str, Tensor]:
    """By layer, True where a weight matters; False where it reads what is always 0, or makes what nothing reads."""
    written = copy.deepcopy(network)
    batchnorm.fold(written)
    found, W = idle(write_back(model, written)), network.W()
    masks = {k: torch.ones_like(w, dtype=torch.bool) for k, w in W.items()}
    for k, source in ((k, network.sources[name]) for k, name in network.weights.items()):
        if source.tensor in found:
            masks[k] = ~source.read(torch.from_numpy(found[source.tensor].copy())).to(W[k].device)
    return masks
