"""A file that decodes itself: weights as small streams, and standard nodes that ONNX Runtime folds when it loads it.

python -m pruning.onnx.pack FILE [-o packed.onnx] [--biases int8] [--levels shared]
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from pruning.errors import NotPacked
from pruning.onnx.alike import alike
from pruning.onnx.codecs import CODECS, eight
from pruning.onnx.codecs.choice import LEAST, Choice, choose
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.stored import Stored, bits_of
from pruning.onnx.compact import name_where_needed, shorten, without_notes
from pruning.onnx.convert import stored_tensors
from pruning.onnx.graphs import graphs_of
from pruning.onnx.names import names_of
from pruning.onnx.raised import in_brief, raised
from pruning.onnx.tensors import replace_values
from pruning.onnx.thin import thin
from pruning.onnx.unpack import MARK, unpack
from pruning.onnx.vet import STANDARD, opset_of

TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8)
WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
LAYERS = (*WITH_BIAS, "MatMul")
OLDEST_IR = 4  # from which on initializers need not be inputs
DEAR = 0.01  # share of the file that names may take
TINY = 2**15  # bytes of a file in which those of a single node matter
MANY = 512  # numbers; a byte for each and what decodes them takes less room than four
WORTH_LOOKING = 2**24  # bytes of a file; the names of a larger one never matter


@dataclass(frozen=True)
class PackedTensor:
    """How a tensor of the file is kept; codec: none where it stays as it is.

    before, after: bytes; those of a stream for several tensors are shared by their non-zeros.
    """

    name: str
    codec: str
    elements: int
    nonzeros: int
    before: int
    after: int


@dataclass(frozen=True)
class Packed:
    """A packed file; exact: every stored number is that of the input file, to the bit; else the largest change.

    Zeros among the weights of layers have no sign in it: no number that is not zero depends on that.
    Where factors have moved between layers, the change is that of the numbers that these gave.
    """

    content: bytes
    tensors: tuple[PackedTensor, ...]
    exact: bool
    largest_change: float


def pack(
    model: ModelProto,
    biases: Literal["float32", "int8"] = "float32",
    levels: Literal["own", "shared"] = "own",
) -> Packed:
    """The smallest file that these codecs give, decoded once and compared with the model.

    Zeros among the weights of layers lose their sign, which other tools leave behind where they multiply by masks.
    Names of values and the exporter's notes stay where they take less than a hundredth of the file. Initializers that
    are inputs of the graph too are constants afterwards.
    Files of a few kilobytes are raised to opset 18, lose what nodes say needlessly, and store matrices of Gemm the
    other way round; outputs are the same to the bit.
    Args: model: vetted; biases: int8 rounds the stored biases of layers to a byte times one step for all;
        levels: shared lets factors move between layers in files of a few kilobytes, so that those whose levels are in
        proportion have the same ones: outputs change in the last digits, and by biases that are rounded in other units.
    Raises: NotPacked: the model's opset cannot be raised to what decoding needs, or the decoded file is another.
    """
    model = _without_signed_zeros(raised(unpack(model)))
    packed = _smallest(model, biases)
    if len(packed.content) >= TINY:
        return packed
    brief = in_brief(model) or model
    found = [packed, _smallest(thin(brief), biases)]
    if levels == "shared":
        moved = (alike(thin(brief)), thin(alike(brief)))  # a scale in the first layer puts that out of proportion
        found += [replace(_smallest(one, biases), exact=False) for one in moved]
    return min(found, key=lambda p: len(p.content))


def _without_signed_zeros(model: ModelProto) -> ModelProto:
    """A copy where there are some in tensors that are weights of layers, and nothing else."""
    result = ModelProto()
    result.CopyFrom(model)
    signed, names = False, _read_only_as(result, LAYERS, 1)
    for tensor in (t for name, t in stored_tensors(result).items() if name in names and t.data_type in TYPES):
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and (np.signbit(values) & (values == 0)).any():
            replace_values(tensor, values + values.dtype.type(0))
            signed = True
    return result if signed else model


def _smallest(model: ModelProto, biases: str) -> Packed:
    """With rounded biases where they may be, and where that is smaller; so many always make it smaller."""
    rounded = _rounded(model) if biases == "int8" else {}
    ways: list[Mapping[str, Stored]] = [rounded] if rounded else [{}]
    if 0 < sum(t.values.size for t in rounded.values()) < MANY:
        ways.append({})
    return min((_packed(model, way) for way in ways), key=lambda p: len(p.content))


def _packed(model: ModelProto, rounded: Mapping[str, Stored]) -> Packed:
    """Args: rounded: by name, in the place of those of the model."""
    tensors = _stored(model)
    choices = choose([rounded.get(t.name, t) for t in tensors], opset_of(model))
    result, rows = _assembled(model, choices, set(rounded))
    exact, change = _largest_change(result, tensors)
    if not exact and not rounded:
        raise NotPacked("the packed file does not decode to the weights of the model; please report this model")
    return Packed(_compact(result), tuple(rows), exact, change)


def _stored(model: ModelProto) -> list[Stored]:
    """Initializers and Constant nodes, of inner graphs too, of types that codecs take."""
    return [Stored(k, numpy_helper.to_array(t)) for k, t in stored_tensors(model).items() if t.data_type in TYPES]


def _rounded(model: ModelProto) -> dict[str, Stored]:
    """Biases with their values rounded, by name; those of few numbers stay, as no codec takes them."""
    names = _read_only_as(model, WITH_BIAS, 2)
    return {t.name: t for t in eight.rounded([t for t in _stored(model) if t.name in names and t.values.size >= LEAST])}


def _read_only_as(model: ModelProto, operators: Collection[str], place: int) -> set[str]:
    """Values that nothing reads but these operators, at this place. Biases are third inputs, weights second ones."""
    nodes = [n for graph in graphs_of(model.graph) for n in graph.node]
    fitting, others = set[str](), {port.name for graph in graphs_of(model.graph) for port in graph.output}
    for n in nodes:
        fits = n.op_type in operators and n.domain in STANDARD
        for i, name in enumerate(n.input):
            (fitting if fits and i == place else others).add(name)
    return fitting - others


def _assembled(
    model: ModelProto, choices: Sequence[Choice], rounded: set[str]
) -> tuple[ModelProto, list[PackedTensor]]:
    """The model with its decoder before its nodes, and with all its names; a row for each tensor."""
    pieces = Pieces(opset_of(model), names_of(model))
    rows = []
    for choice in choices:
        said = None
        if choice.codec:
            said = CODECS[choice.codec](pieces, choice.group)
        rows += _rows(choice, said, rounded)
    decoded = {t.name for c in choices if c.codec for t in c.group}
    result = ModelProto(ir_version=max(model.ir_version, OLDEST_IR), opset_import=model.opset_import)
    result.functions.extend(model.functions)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.metadata_props.extend(model.metadata_props)
    graph, initializers = result.graph, {t.name for t in model.graph.initializer}
    graph.name = model.graph.name
    graph.node.extend(pieces.nodes)
    graph.node.extend(model.graph.node)
    graph.initializer.extend(t for t in model.graph.initializer if t.name not in decoded)
    for one in graphs_of(graph):
        _remove(one, decoded)
    graph.initializer.extend(pieces.tensors)
    graph.input.extend(i for i in model.graph.input if i.name not in initializers)
    graph.output.extend(model.graph.output)
    if pieces.nodes:
        result.metadata_props.add(key=MARK, value=str(len(pieces.nodes)))
    return result, rows


def _remove(graph: GraphProto, names: set[str]) -> None:
    """What is stored under these names."""
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name in names:
            del graph.initializer[at]
    for at in reversed(range(len(graph.node))):
        if graph.node[at].op_type == "Constant" and graph.node[at].output[0] in names:
            del graph.node[at]


def _rows(choice: Choice, said: str | None, rounded: set[str]) -> list[PackedTensor]:
    rows = []
    weight = sum(np.count_nonzero(t.values) + 1 for t in choice.group)
    for t in choice.group:
        kept = int(np.count_nonzero(t.values))
        after = round(choice.bytes * (kept + 1) / weight)
        codec = "int8" if t.name in rounded else said or "plain"
        rows.append(PackedTensor(t.name, codec, t.values.size, kept, t.values.nbytes, after))
    return rows


def _largest_change(packed: ModelProto, tensors: Sequence[Stored]) -> tuple[bool, float]:
    """Whether decoding gives every stored number to the bit, and the largest difference."""
    decoded = {t.name: t for t in unpack(packed).graph.initializer}
    exact, largest = True, 0.0
    for before in (t for t in tensors if t.name in decoded):
        after = numpy_helper.to_array(decoded[before.name])
        if after.shape != before.values.shape or after.dtype != before.values.dtype:
            return False, np.inf
        if not np.array_equal(bits_of(after.reshape(-1)), bits_of(before.values.reshape(-1))):
            difference = np.abs(after.astype(np.float64) - before.values.astype(np.float64))
            exact, largest = False, max(largest, float(difference.max()))
    return exact, largest


def _compact(model: ModelProto) -> bytes:
    """With names and notes where they take little of the file."""
    decoding = next((int(p.value) for p in model.metadata_props if p.key == MARK), 0)
    without_notes(model)
    name_where_needed(model.graph.node[decoding:])
    named = model.SerializeToString()
    if len(named) > WORTH_LOOKING:
        return named
    short = ModelProto()
    short.CopyFrom(model)
    shorten(short)
    name_where_needed(short.graph.node[decoding:])
    content = short.SerializeToString()
    return named if len(named) <= (1 + DEAR) * len(content) else content


if __name__ == "__main__":
    from pruning.onnx.packing import main

    raise SystemExit(main())
