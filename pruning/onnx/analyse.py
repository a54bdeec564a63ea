"""What can be pruned in a model, and whether the network computes what ONNX Runtime does."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, ValueInfoProto
from torch import nn

from pruning.analysis import Analysis, Layer, Port
from pruning.dtypes import NUMPY
from pruning.errors import OutOfMemory, PruningError, RejectedModel, first_line, is_out_of_memory
from pruning.measure import Feeds
from pruning.onnx.agree import Agreement, compare
from pruning.onnx.convert import convert, inputs_of, stored_tensors
from pruning.onnx.dtypes import FLOATS, HALVES, name_of
from pruning.onnx.graphs import graphs_of
from pruning.onnx.network import Network
from pruning.onnx.node import shown
from pruning.onnx.shrink import readers
from pruning.onnx.sizes import check_sizes
from pruning.onnx.vet import Limits, opset_of

LARGEST_DIFFERENCE = 1e-3
EXAMPLES = 2
BATCH_FIRST = (
    "axis 0 must be the batch in all inputs and outputs (export with batch_first, or transpose), "
    "and BatchNormalization in evaluation mode (export after eval())"
)
TOO_LARGE = "the model needs more memory than there is to run two examples; this service cannot take it"
MOST_ELEMENTS = 2**26  # of an input on which a network is compared
SIZES = (8, 32, 224)  # tried for dimensions that are known only at run time


def analyse(model: ModelProto) -> tuple[Analysis, Network]:
    """Analysis of a vetted model, and the network that it was made on.

    Raises: RejectedModel: it cannot be converted, does not run, or disagrees with ONNX Runtime by more
    than 1e-3 of its largest output, on random input.
    """
    ports = _ports(model)
    network, x, agreement, size = _understood(model, ports)
    network.layers = {layer.name: layer for layer in with_multiply_adds(network, x)}
    network.layers = {layer.name: layer for layer in with_readers(network, model)}
    layers, shapes = network.layers.values(), _shapes(network, ports, agreement, size)
    analysis = Analysis(
        inputs=tuple(ports),
        outputs=tuple(_output(port, ports[0], shapes[port.name], network.frame) for port in model.graph.output),
        opset=opset_of(model),
        operators=dict(Counter(node.op_type for graph in graphs_of(model.graph) for node in graph.node)),
        layers=tuple(layers),
        weights=sum(layer.weights for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        agrees_max_abs=agreement.max_abs,
        warnings=tuple(_warnings(model, ports, network, size)),
    )
    return analysis, network


def random_input(port: Port, examples: int, size: int = SIZES[0]) -> np.ndarray:
    """Seeded: uniform in [0, 1), or 0 and 1 for integers; dimensions known only at run time become `size`.

    Raises: RejectedModel: it would take more than 2^26 numbers.
    """
    shape = (examples, *(d or size for d in port.example_shape))
    if math.prod(shape) > MOST_ELEMENTS:
        raise RejectedModel(
            f"input {shown(port.name)} takes {math.prod(shape):,} numbers for {examples} examples: too many"
        )
    rng = np.random.default_rng(0)
    values = rng.random(shape, dtype=np.float32)
    if port.dtype in ("float", "float16", "bfloat16"):
        return values
    if port.dtype == "double":
        return values.astype(np.float64)
    whole = rng.integers(0, 2, shape)
    whole[..., :1], whole[..., -1:] = 1, 0  # no mask hides everything
    return whole.astype(bool) if port.dtype == "bool" else whole.astype(port.dtype)


def check_agreement(model: ModelProto, network: Network, x: Feeds) -> Agreement:
    """Raises: RejectedModel: see analyse."""
    again = f"a batch of {len(next(iter(x.values())))}"
    try:
        found = compare(model.SerializeToString(), network, x)
    except OutOfMemory as error:
        raise RejectedModel(TOO_LARGE) from error
    except PruningError:
        raise
    except Exception as error:  # whatever torch makes of shapes that do not meet
        if is_out_of_memory(error):
            raise RejectedModel(TOO_LARGE) from error
        said = first_line(error)
        raise RejectedModel(
            f"the model does not run on {again} ({said}); re-export with a dynamic batch axis"
        ) from error
    if found is None:
        raise RejectedModel(f"the model's output has another shape on {again}; re-export with a dynamic batch axis")
    if not found.finite:
        raise RejectedModel("the model gives NaN or infinite values on random input; it was not trained to an end")
    if not found.relative <= LARGEST_DIFFERENCE:
        raise RejectedModel(
            f"the imported network differs from ONNX Runtime by {found.max_abs:.3g} on random input: "
            "an operator is not understood as it was meant; please report this model"
        )
    return found


def check_rows(network: Network, x: Feeds) -> None:
    """Each row of an output is that of one example. Raises: RejectedModel: axis 0 is something else than the batch."""
    examples = len(next(iter(x.values())))
    other = {k: np.concatenate([v[:-1], ~v[-1:] if v.dtype == bool else 1 - v[-1:]]) for k, v in x.items()}
    with torch.no_grad():
        found = [network({k: torch.from_numpy(v) for k, v in feeds.items()}) for feeds in (x, other)]
    for name, y in found[0].items():
        scale = max(float(y.double().abs().max()), 1e-6) if y.numel() else 1.0
        if len(y) != examples:
            raise RejectedModel(f"output {shown(name)} has {len(y)} rows for {examples} examples; {BATCH_FIRST}")
        moved = (y.double() - found[1][name].double())[:-1].abs().nan_to_num()
        if moved.numel() and float(moved.max()) > LARGEST_DIFFERENCE * scale:
            raise RejectedModel(f"an example changes the rows of others in output {shown(name)}; {BATCH_FIRST}")


def _understood(model: ModelProto, ports: Sequence[Port]) -> tuple[Network, Feeds, Agreement, int]:
    """The first way to read the model that agrees with ONNX Runtime: what it was compared on, and the open size."""
    said: dict[int | None, RejectedModel] = {}  # by frame: the first size's, and in the end the last frame's
    for batch, frame, examples in _readings(ports):
        is_open = any(None in port.example_shape for port in ports)
        for size in SIZES if is_open else SIZES[:1]:
            try:
                if is_open:  # vetting assumed small dimensions
                    check_sizes(model, Limits().inferred_elements, Limits().rank, size)
                x = {port.name: random_input(port, examples, size) for port in ports}
                one_pass = {k: torch.from_numpy(v[0] if frame == 0 else v) for k, v in x.items()}
                network = convert(model, one_pass, batch)
                network.frame = frame
                agreement = check_agreement(model, network, x)
                check_rows(network, x)
                return network, x, agreement, size
            except RejectedModel as error:
                said.setdefault(frame, error)
            except MemoryError:
                said.setdefault(frame, RejectedModel(TOO_LARGE))
    raise list(said.values())[-1] if said else RejectedModel("the model has no inputs; export it with its inputs")


def _readings(ports: Sequence[Port]) -> Iterator[tuple[int | None, int | None, int]]:
    """Literal batch size to free, frame of a pass, and examples to compare on."""
    if all(port.is_single for port in ports):
        yield None, 0, EXAMPLES
        return
    fixed = {port.shape[0] for port in ports}
    literal = fixed.pop() if len(fixed) == 1 else None
    if literal is None:
        yield None, None, EXAMPLES
        return
    yield literal, None, literal + 1
    yield None, literal, literal


def with_multiply_adds(network: Network, x: Feeds) -> list[Layer]:
    """The layers with their multiply-adds for one example: weights times positions where they are applied."""
    counts: Counter[str] = Counter()
    examples = len(next(iter(x.values())))
    layer_of = {id(parameter): name for name, parameter in network.W().items()}

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if id(parameter) in layer_of:
                counts[layer_of[id(parameter)]] += _products(module, parameter, inputs[0], output)

    hooks = [module.register_forward_hook(count) for module in network.module.modules()]
    network.module.eval()
    with torch.no_grad():
        network({k: torch.from_numpy(v) for k, v in x.items()})
    for hook in hooks:
        hook.remove()
    return [
        layer.model_copy(update={"multiply_adds": counts[layer.name] // examples}) for layer in network.layers.values()
    ]


def with_readers(network: Network, model: ModelProto) -> list[Layer]:
    """The layers with those that read their filters; none where a layer has only a part of its stored tensor."""
    whole = {
        layer.weight: layer.name
        for layer in network.layers.values()
        if layer.weights == math.prod(network.sources[network.weights[layer.name]].shape)
    }
    found = readers(model)
    return [
        layer.model_copy(update={"readers": _by_layer(found.get(layer.weight, {}), whole)})
        if whole.get(layer.weight) == layer.name
        else layer
        for layer in network.layers.values()
    ]


def _by_layer(tensors: Mapping[str, int], whole: Mapping[str, str]) -> dict[str, int]:
    """None where a reader is no layer of its own: what goes with a filter would not be known."""
    return {whole[tensor]: inputs for tensor, inputs in tensors.items()} if tensors.keys() <= whole.keys() else {}


def _products(module: nn.Module, weight: torch.Tensor, x: torch.Tensor, y: Any) -> int:
    """Multiply-adds of one call of a module, over the whole batch."""
    if isinstance(module, nn.RNNBase):
        return weight.numel() * x.shape[0] * x.shape[1]
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return weight.numel() * (x.numel() // weight.shape[0])
    return weight.numel() * (y.numel() // weight.shape[0])


def _ports(model: ModelProto) -> list[Port]:
    ports = [_port(value) for value in inputs_of(model.graph)]
    for port in ports:
        if not port.shape:
            raise RejectedModel(
                f"input {port.name!r} is one number for all examples; make it a constant of the graph and export again"
            )
    if single := [port.name for port in ports if port.is_single and not all(p.is_single for p in ports)]:
        raise RejectedModel(
            f"input {single[0]!r} has no batch axis, other inputs have one; give it one and export again"
        )
    return ports


def _port(value: ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise RejectedModel(f"{value.name!r} has no shape; export with the shapes of inputs and outputs")
    if _dtype(value) not in {*NUMPY, "bfloat16"}:
        raise RejectedModel(
            f"input {shown(value.name)} has element type {_dtype(value)}; export it as float32 or int64"
        )
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)
    return Port(name=value.name, dtype=_dtype(value), shape=shape)


def _shapes(
    network: Network, ports: Sequence[Port], agreement: Agreement, size: int
) -> dict[str, tuple[int | None, ...]]:
    """Of the outputs, as they came out of ONNX Runtime; None where they differ for inputs of another size."""
    seen: dict[str, tuple[int | None, ...]] = dict(agreement.shapes)
    if network.frame is not None or all(None not in port.example_shape for port in ports):
        return seen
    x = {port.name: torch.from_numpy(random_input(port, EXAMPLES, 2 * size)) for port in ports}
    try:
        with torch.no_grad():
            other = {name: y.shape for name, y in network(x).items()}
    except Exception:  # noqa: BLE001  # it takes this size only, whatever its declaration says
        return seen
    return {k: tuple(a if a == b else None for a, b in zip(seen[k], s, strict=True)) for k, s in other.items()}


def _output(value: ValueInfoProto, first: Port, seen: tuple[int | None, ...], frame: int | None) -> Port:
    """With the batch as the first input has it."""
    return Port(name=value.name, dtype=_dtype(value), shape=seen[1:] if frame == 0 else (first.shape[0], *seen[1:]))


def _dtype(value: ValueInfoProto) -> str:
    return name_of(value.type.tensor_type.elem_type)


def _warnings(model: ModelProto, ports: Sequence[Port], network: Network, size: int) -> Iterator[str]:
    operators = {node.op_type for node in model.graph.node}
    batch = ports[0].shape[0]
    if network.frame == 0:
        yield "the input has no batch axis: examples are trained one by one, which is slow; re-export with a batch axis"
    elif network.frame is not None:
        yield (
            f"the batch is fixed at {batch} and could not be freed: examples are trained {batch} at a time, "
            "which is slow; re-export with a dynamic batch axis"
        )
    elif batch is not None:
        yield f"the batch is fixed at {batch} in the file; the delivered file keeps it"
    if "Conv" in operators and "BatchNormalization" not in operators:
        yield "no BatchNormalization: it was folded by the exporter, or the net never had one"
    if _has_attention(model):
        yield "attention: its projections suit scattered zeros; patterns that remove whole filters leave them dense"
    if len(model.graph.output) > 1:
        floats = [shown(o.name) for o in model.graph.output if o.type.tensor_type.elem_type in FLOATS]
        labelled = floats[0] if floats else "none"
        yield (
            f"{len(model.graph.output)} outputs: labels are for {labelled} unless train.output "
            "names another; the others are kept near the dense model's"
        )
    if any(None in port.example_shape for port in ports):
        yield f"dimensions known only at run time were taken as {size}: multiply-adds are for these"
    if any(n.op_type == "BatchNormalization" and len([o for o in n.output if o]) > 1 for n in model.graph.node):
        yield "BatchNormalization was exported in training mode and uses each batch's statistics; export after eval()"
    yield from _about_weights(model, network)


def _about_weights(model: ModelProto, network: Network) -> Iterator[str]:
    stored = stored_tensors(model)
    if any(t.data_type in HALVES for t in stored.values()):
        yield "half-precision weights are trained in single precision and delivered in half"
    trained = {source.tensor for source in network.sources.values()}
    fixed = {k: t for k, t in stored.items() if t.data_type in FLOATS and k not in trained and len(t.dims) > 1}
    if large := [k for k, t in fixed.items() if int(np.prod(t.dims)) >= 1024]:
        yield f"{len(large)} stored tensors are no layer's weights and stay as they are: {', '.join(large[:5])}"


def _has_attention(model: ModelProto) -> bool:
    """A Softmax whose result is multiplied with something that is computed too."""
    stored = set(stored_tensors(model))
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    products = (node for node in model.graph.node if node.op_type == "MatMul")
    computed = (n for n in products if not set(n.input) & stored)
    return "Attention" in set(made.values()) or any(made.get(name) == "Softmax" for n in computed for name in n.input)
