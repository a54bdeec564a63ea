"""What can be pruned in a model, and whether the network computes what ONNX Runtime does."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto
from torch import nn

from pruning.analysis import Analysis, Layer, Port
from pruning.errors import OutOfMemory, RejectedModel, is_out_of_memory
from pruning.measure import run, session
from pruning.onnx.convert import convert, stored_tensors
from pruning.onnx.network import Network
from pruning.onnx.vet import opset_of

AGREEMENT = 1e-3
EXAMPLES = 2


def analyse(model: ModelProto) -> Analysis:
    """Analysis of a vetted model.

    Raises: RejectedModel: it cannot be converted, does not run, or disagrees with ONNX Runtime by more
    than 1e-3 of its largest output, on random input.
    """
    network = convert(model)
    output = model.graph.output[0]
    inputs = [_port(i) for i in model.graph.input if i.name not in stored_tensors(model)]
    x = random_input(inputs[0], EXAMPLES)
    difference, shape = agreement(model, network, x)
    layers = with_multiply_adds(network, x)
    return Analysis(
        inputs=tuple(inputs),
        outputs=(Port(name=output.name, dtype=_dtype(output), shape=(inputs[0].shape[0], *shape[1:])),),
        opset=opset_of(model),
        operators=dict(Counter(node.op_type for node in model.graph.node)),
        layers=tuple(layers),
        weights=sum(layer.weights for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        agrees_max_abs=difference,
        warnings=tuple(network.warnings + _warnings(model, inputs[0])),
    )


def random_input(port: Port, examples: int) -> np.ndarray:
    """Uniform in [0, 1), seeded; dimensions known only at run time become 8."""
    shape = (examples, *(d or 8 for d in port.shape[1:]))
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def agreement(model: ModelProto, network: Network, x: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """Largest absolute difference between the network in evaluation mode and ONNX Runtime, and the output's shape.

    Raises: RejectedModel: see analyse.
    """
    network.module.eval()
    expected = run(session(model.SerializeToString()), x)
    try:
        with torch.no_grad():
            got = network.module(torch.from_numpy(x)).numpy()
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise RejectedModel(
            f"the model does not run on a batch of {len(x)} ({str(error)[:200]}); re-export with a dynamic batch axis"
        ) from error
    if got.shape != expected.shape:
        raise RejectedModel(f"a batch of {len(x)} gives {expected.shape}; re-export with a dynamic batch axis")
    difference = float(np.abs(got - expected).max())
    if not difference <= AGREEMENT * max(float(np.abs(expected).max()), 1e-6):
        raise RejectedModel(
            f"the imported network differs from ONNX Runtime by {difference:.3g} on random input: "
            "an operator is not understood as it was meant; please report this model"
        )
    return difference, expected.shape


def with_multiply_adds(network: Network, x: np.ndarray) -> list[Layer]:
    """The layers with their multiply-adds for one example: weights times positions where they are applied."""
    counts: Counter[str] = Counter()
    owners = {network.module.get_submodule(w.rpartition(".")[0]): k for k, w in network.weights.items()}

    def count(module: nn.Module, _: Any, y: torch.Tensor) -> None:
        outputs = module.get_parameter("weight").shape[0]
        layer = network.layers[owners[module]]
        counts[layer.name] += layer.weights * y[0].numel() // outputs

    hooks = [module.register_forward_hook(count) for module in owners]
    with torch.no_grad():
        network.module(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return [layer.model_copy(update={"multiply_adds": counts[layer.name]}) for layer in network.layers.values()]


def _port(value: ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise RejectedModel(f"{value.name!r} has no shape; export with the shapes of inputs and outputs")
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)
    return Port(name=value.name, dtype=_dtype(value), shape=shape)


def _dtype(value: ValueInfoProto) -> str:
    return TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()


def _warnings(model: ModelProto, port: Port) -> list[str]:
    found = []
    if port.shape and port.shape[0] is not None:
        found.append(f"the batch is fixed at {port.shape[0]} in the file; the delivered file keeps it")
    operators = {node.op_type for node in model.graph.node}
    if "Conv" in operators and "BatchNormalization" not in operators:
        found.append("no BatchNormalization: it was folded by the exporter, or the net never had one")
    return found
