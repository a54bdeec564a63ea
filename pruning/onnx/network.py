"""The trainable network that an ONNX graph becomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pruning.analysis import Layer

Gives = Literal["logits", "probabilities", "log_probabilities"]


@dataclass(frozen=True)
class Source:
    """Where a parameter or buffer came from in the ONNX graph, to be written back there."""

    tensor: str
    transposed: bool = False


@dataclass
class Network:
    """A GraphModule with native modules, and the way back into the user's graph.

    module: forward(*inputs) -> an output, or a tuple of them where there are several; batches along axis 0.
    inputs, outputs: their names in the file, in that order.
    layers: layers with prunable weights, by name, in graph order.
    weights, biases: names of the parameters of each layer, as in module.named_parameters(); not all have a bias.
    sources: every parameter and buffer that training may change.
    gives: what each output is; a loss must know whether a Softmax was applied.
    """

    module: nn.Module
    layers: dict[str, Layer]
    weights: dict[str, str]
    biases: dict[str, str]
    sources: Mapping[str, Source]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    gives: Mapping[str, Gives]

    def __call__(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every output by name, for a batch of every input by name; in the module's present mode."""
        found = self.module(*(x[name] for name in self.inputs))
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))

    def to(self, device: torch.device) -> None:
        """Move to a device, with image weights in channels_last: twice as fast on the CPU at large batches."""
        self.module.to(device)
        for parameter in self.module.parameters():
            if parameter.dim() == 4:
                # not contiguous(): with one channel it leaves the strides, and the slow kernels, as they are
                parameter.data = parameter.data.to(memory_format=torch.channels_last)

    def W(self) -> dict[str, nn.Parameter]:
        """The prunable weights by layer name: the live parameters, not copies."""
        return {k: self.module.get_parameter(v) for k, v in self.weights.items()}

    def b(self) -> dict[str, nn.Parameter]:
        """Biases of the prunable layers that have one, by layer name: (out,), or (out, 1, 1) where added later."""
        return {k: self.module.get_parameter(v) for k, v in self.biases.items()}

    @torch.no_grad()
    def set_W(self, values: Mapping[str, Tensor]) -> None:
        """Copy values into the weights."""
        for k, parameter in self.W().items():
            parameter.copy_(values[k])
