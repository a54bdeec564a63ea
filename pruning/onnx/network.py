"""The trainable network that an ONNX graph becomes."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, fx, nn

from pruning.analysis import Layer

Gives = Literal["logits", "probabilities", "log_probabilities", "sigmoid"]
Move = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Source:
    """Which elements of a stored tensor a parameter holds.

    moves: what turns the stored tensor, of this shape, into the parameter: transpositions, reshapes, slices.
    """

    tensor: str
    shape: tuple[int, ...]
    moves: tuple[Move, ...] = ()

    def moved(self, *moves: Move) -> "Source":
        """The same elements moved further."""
        return Source(self.tensor, self.shape, (*self.moves, *moves))

    def read(self, stored: Tensor) -> Tensor:
        """The parameter's values out of the stored tensor's."""
        for move in self.moves:
            stored = move(stored)
        return stored

    def index(self) -> Tensor:
        """(as the parameter) the place of each element in the flattened stored tensor."""
        return self.read(torch.arange(math.prod(self.shape), dtype=torch.int32).reshape(self.shape))

    def write(self, stored: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The stored tensor with the parameter's values in their places."""
        if not self.moves:
            return values.reshape(stored.shape)
        result = stored.astype(values.dtype).reshape(-1)
        result[self.index().numpy().reshape(-1)] = values.reshape(-1)
        return result.reshape(stored.shape)


@dataclass
class Network:
    """A GraphModule with native modules, and the way back into the user's graph.

    module: forward(*inputs) -> an output, or a tuple of them where there are several; batches along axis 0.
    inputs, outputs: their names in the file, in that order.
    layers: layers with prunable weights, by name, in graph order.
    weights, biases: names of the parameters of each layer, as in module.named_parameters(); not all have a bias.
    sources: every parameter and buffer that training may change.
    gives: what each output is; a loss must know whether a Softmax or Sigmoid was applied.
    inserted: the BatchNorm that was put behind a convolution, by the convolution's name, see pruning.onnx.batchnorm.
    frame: examples that one pass must have; 0: one, without a batch axis; None: any number.
    """

    module: nn.Module
    layers: dict[str, Layer]
    weights: dict[str, str]
    biases: dict[str, str]
    sources: Mapping[str, Source]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    gives: Mapping[str, Gives]
    frame: int | None = None
    inserted: dict[str, str] = field(default_factory=dict)

    def __call__(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every output by name, for a batch of every input by name; in the module's present mode."""
        ordered = [x[name] for name in self.inputs]
        found = self._pass(ordered) if self.frame is None else self._in_pieces(ordered, self.frame)
        return dict(zip(self.outputs, found, strict=True))

    def _pass(self, x: Sequence[Tensor]) -> tuple[Tensor, ...]:
        found = nn.Module.__call__(self.module, *x)  # GraphModule's own call prints its source where one fails
        return found if isinstance(found, tuple) else (found,)

    def _in_pieces(self, x: Sequence[Tensor], size: int) -> tuple[Tensor, ...]:
        if size == 0:
            each = [self._pass(example) for example in zip(*x, strict=True)]
            return tuple(torch.stack(parts) for parts in zip(*each, strict=True))
        n = len(x[0])
        whole = [torch.cat([v, v[-1:].expand(-n % size, *v.shape[1:])]) for v in x]
        found = [self._pass([v[i : i + size] for v in whole]) for i in range(0, n, size)]
        return tuple(torch.cat(parts)[:n] for parts in zip(*found, strict=True))

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

    def norms(self) -> dict[str, nn.Module]:
        """The BatchNorm that alone reads a layer's outputs, by layer name."""
        found = norms_behind(self.module)
        modules = {k: found.get(weight.removesuffix(".weight")) for k, weight in self.weights.items()}
        return {k: self.module.get_submodule(name) for k, name in modules.items() if name is not None}

    @torch.no_grad()
    def set_W(self, values: Mapping[str, Tensor]) -> None:
        """Copy values into the weights."""
        for k, parameter in self.W().items():
            parameter.copy_(values[k])


def norms_behind(module: nn.Module) -> dict[str, str]:
    """Names of BatchNorms by that of the only module whose output they read, which nothing else reads."""
    assert isinstance(module, fx.GraphModule)
    calls = [node for node in module.graph.nodes if node.op == "call_module"]
    often = Counter(str(node.target) for node in calls)
    found = {}
    for node in calls:
        before, norm = node.args[0], str(node.target)
        if not isinstance(module.get_submodule(norm), nn.modules.batchnorm._BatchNorm):
            continue
        alone = isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1
        if isinstance(before, fx.Node) and alone and often[norm] == often[str(before.target)] == 1:
            found[str(before.target)] = norm
    return found
