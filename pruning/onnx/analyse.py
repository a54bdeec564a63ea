"""What can be pruned in a model, and whether the network computes what ONNX Runtime does."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto
from torch import nn

from pruning.analysis import Analysis, Layer, Port
from pruning.errors import OutOfMemory, PruningError, RejectedModel, is_out_of_memory
from pruning.measure import Feeds
from pruning.onnx.agree import Agreement, compare
from pruning.onnx.convert import convert, stored_tensors
from pruning.onnx.network import Network
from pruning.onnx.vet import opset_of

LARGEST_DIFFERENCE = 1e-3
EXAMPLES = 2


def analyse(model: ModelProto) -> tuple[Analysis, Network]:
    """Analysis of a vetted model, and the network that it was made on.

    Raises: RejectedModel: it cannot be converted, does not run, or disagrees with ONNX Runtime by more
    than 1e-3 of its largest output, on random input.
    """
    network = convert(model)
    output = model.graph.output[0]
    stored = stored_tensors(model)
    inputs = [_port(i) for i in model.graph.input if i.name not in stored]
    x = {inputs[0].name: random_input(inputs[0], EXAMPLES)}
    agreement = check_agreement(model, network, x)
    network.layers = {layer.name: layer for layer in with_multiply_adds(network, x)}
    layers = network.layers.values()
    shape = (inputs[0].shape[0], *agreement.shapes[output.name][1:])
    analysis = Analysis(
        inputs=tuple(inputs),
        outputs=(Port(name=output.name, dtype=_dtype(output), shape=shape),),
        opset=opset_of(model),
        operators=dict(Counter(node.op_type for node in model.graph.node)),
        layers=tuple(layers),
        weights=sum(layer.weights for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        agrees_max_abs=agreement.max_abs,
        warnings=tuple(_warnings(model, inputs[0])),
    )
    return analysis, network


def random_input(port: Port, examples: int) -> np.ndarray:
    """Uniform in [0, 1), seeded; dimensions known only at run time become 8."""
    shape = (examples, *(d or 8 for d in port.shape[1:]))
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def check_agreement(model: ModelProto, network: Network, x: Feeds) -> Agreement:
    """Raises: RejectedModel: see analyse."""
    again = f"a batch of {len(next(iter(x.values())))}; re-export with a dynamic batch axis"
    try:
        found = compare(model.SerializeToString(), network, x)
    except PruningError:
        raise
    except Exception as error:  # whatever torch makes of shapes that do not meet
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise RejectedModel(f"the model does not run on {again} ({str(error)[:200]})") from error
    if found is None:
        raise RejectedModel(f"the model's output has another shape on {again}")
    if not found.relative <= LARGEST_DIFFERENCE:
        raise RejectedModel(
            f"the imported network differs from ONNX Runtime by {found.max_abs:.3g} on random input: "
            "an operator is not understood as it was meant; please report this model"
        )
    return found


def with_multiply_adds(network: Network, x: Feeds) -> list[Layer]:
    """The layers with their multiply-adds for one example: weights times positions where they are applied."""
    counts: Counter[str] = Counter()
    layer_of = {id(parameter): name for name, parameter in network.W().items()}
    owners = [m for m in network.module.modules() if id(getattr(m, "weight", None)) in layer_of]

    def count(module: nn.Module, _: Any, y: torch.Tensor) -> None:
        weight = module.get_parameter("weight")
        counts[layer_of[id(weight)]] += weight.numel() * y[0].numel() // weight.shape[0]

    hooks = [module.register_forward_hook(count) for module in owners]
    with torch.no_grad():
        network({k: torch.from_numpy(v) for k, v in x.items()})
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
