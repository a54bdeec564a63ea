"""Operators of every kind in a net that is otherwise good: what is wrong with them gets behind the vetting."""

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from benchmarks.harm.case import Case
from pruning.onnx.inline import COMPOSITES
from pruning.onnx.ops import CONVERTERS
from tests.unit.pruning.onnx.crafted import after, node, number

NEWEST = 23  # that ONNX Runtime takes
MOST_BYTES = 100_000
WHOLE = (0, 1, 2, 3, -1, -2, 7, 16, 64, 255, 1000, 2**13, 2**16, 2**20, 2**28, 2**31, 2**40, 2**62, -(2**31), -(2**63))
WHOLE += (2**63 - 1,)
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-7, 1e7, 1e30, -1e30, 3e38, float("inf"), float("-inf"))
WORDS = (b"", b"SAME_UPPER", b"SAME_LOWER", b"VALID", b"reflect", b"edge", b"wrap", b"constant", b"none", b"\0")
WORDS += (b"cubic", b"linear", b"nearest", b"floor", b"round_prefer_ceil", b"tf_crop_and_resize", b"align_corners")
WORDS += (b"add", b"mul", b"max", b"tanh", b"Relu", b"Affine", b"reverse", b"bidirectional")
WORDS += (b"ij,jk->ik", b"...ij->...", b"i,i,i->", b"a,b,c,d,a,b,c,d->")
TYPES = (np.float32, np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8, np.uint64, np.bool_)


@dataclass(frozen=True)
class Scion:
    """One of onnx's own cases: its nodes, and values for its inputs."""

    name: str
    nodes: tuple[NodeProto, ...]
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]


@dataclass
class Tree:
    """What has been grafted: nodes and stored tensors, by name."""

    nodes: list[NodeProto] = field(default_factory=list)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)


@cache
def scions() -> tuple[Scion, ...]:
    """Cases of operators that are taken, on tensors of numbers."""
    known, found = {*CONVERTERS, *COMPOSITES}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)  # type: ignore[arg-type]
    for case in cases:
        if case.model is None or not case.data_sets or {n.op_type for n in case.model.graph.node} - known:
            continue
        values = dict(zip([i.name for i in case.model.graph.input], case.data_sets[0][0], strict=False))
        if all(isinstance(v, np.ndarray) and v.dtype in TYPES and v.nbytes < MOST_BYTES for v in values.values()):
            outputs = tuple(o.name for o in case.model.graph.output)
            found.append(Scion(case.name, tuple(case.model.graph.node), values, outputs))
    return tuple(found)


def grafted(rng: random.Random) -> Case:
    """One to three of the cases in a row, behind a convolution, with a few things wrong with them."""
    tree = Tree()
    for place in range(rng.choice((1, 1, 2, 3))):
        _graft(rng, tree, rng.choice(scions()), f"g{place}_")
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        rng.choice(WRONGS)(rng, tree)
    content = _planted(rng, tree).SerializeToString()
    return Case(f"grafted {' '.join(n.op_type for n in tree.nodes[:4])}", content, "onnx")


def _graft(rng: random.Random, tree: Tree, scion: Scion, prefix: str) -> None:
    """With names of its own; one of its inputs may be what the last one made."""
    names = {name: prefix + name for n in scion.nodes for name in (*n.input, *n.output) if name}
    names |= {name: prefix + name for name in scion.inputs}
    if tree.made and scion.inputs and rng.random() < 0.7:
        names[rng.choice(sorted(scion.inputs))] = rng.choice(tree.made)
    for name, values in scion.inputs.items():
        if names[name] == prefix + name:
            tree.tensors[prefix + name] = values
    for proto in scion.nodes:
        copy = NodeProto()
        copy.CopyFrom(proto)
        copy.name = f"{prefix}{len(tree.nodes)}"
        copy.input[:] = [names.get(n, "") for n in proto.input]
        copy.output[:] = [names.get(n, "") for n in proto.output]
        tree.nodes.append(copy)
    tree.made = [names[o] for o in scion.outputs if o in names] or tree.made


def _planted(rng: random.Random, tree: Tree) -> ModelProto:
    """Between a convolution and the output. What it reads is stored, or computed from the net's input."""
    at_run_time = {name for name in tree.tensors if rng.random() < 0.5}
    tensors = [numpy_helper.from_array(v, name + "_" * (name in at_run_time)) for name, v in tree.tensors.items()]
    before = [node("ReduceMean", "h", "mean_h", keepdims=0), node("Mul", "mean_h nil", "none_f")]
    for name in sorted(at_run_time):
        before += _from_input(name, tree.tensors[name].dtype)
    result = rng.choice(tree.made)
    behind = [node("Cast", result, "as_float", to=TensorProto.FLOAT), node("ReduceMean", "as_float", "m", keepdims=0)]
    behind += [node("Mul", "m small", "share"), node("Add", "h share")]
    opset = NEWEST if rng.random() < 0.7 else rng.randint(7, NEWEST)
    tensors += [number("nil", 0), number("small", 1e-3)]
    model = ModelProto.FromString(after(*before, *tree.nodes, *behind, tensors=tensors, opset=opset)())
    model.ir_version = 10
    return model


def _from_input(name: str, dtype: np.dtype[Any]) -> list[NodeProto]:
    """The stored tensor plus nothing that could be known beforehand."""
    cast = node("Cast", "none_f", f"{name}_none", to=helper.np_dtype_to_tensor_dtype(dtype))
    return [cast, node("Or" if dtype == np.bool_ else "Add", f"{name}_ {name}_none", name)]


def _attribute(rng: random.Random, tree: Tree) -> None:
    """Another value."""
    held = [a for n in tree.nodes for a in n.attribute]
    if held:
        attribute = rng.choice(held)
        CHANGES.get(attribute.type, _nothing)(rng, attribute)


def _number(rng: random.Random, attribute: AttributeProto) -> None:
    attribute.i = rng.choice((*WHOLE, attribute.i + 1, attribute.i - 1))


def _numbers(rng: random.Random, attribute: AttributeProto) -> None:
    values = list(attribute.ints) or [0]
    values[rng.randrange(len(values))] = rng.choice(WHOLE)
    attribute.ints[:] = rng.choice((values, values, values[1:], [*values, rng.choice(WHOLE)], values * 2, values[::-1]))


def _real(rng: random.Random, attribute: AttributeProto) -> None:
    attribute.f = rng.choice(REAL)


def _word(rng: random.Random, attribute: AttributeProto) -> None:
    attribute.s = rng.choice(WORDS)


def _words(rng: random.Random, attribute: AttributeProto) -> None:
    attribute.strings[:] = [rng.choice(WORDS) for _ in range(rng.choice((0, 1, 2, 3, 6)))]


def _nothing(rng: random.Random, attribute: AttributeProto) -> None:
    """Tensors and graphs stay."""


CHANGES: dict[int, Callable[[random.Random, AttributeProto], None]] = {
    AttributeProto.INT: _number,
    AttributeProto.INTS: _numbers,
    AttributeProto.FLOAT: _real,
    AttributeProto.STRING: _word,
    AttributeProto.STRINGS: _words,
}


def _another_attribute(rng: random.Random, tree: Tree) -> None:
    """One that its operator has and the case leaves out, or one left out that the case has."""
    proto = rng.choice(tree.nodes)
    if proto.attribute and rng.random() < 0.3:
        del proto.attribute[rng.randrange(len(proto.attribute))]
        return
    held = {a.name for a in proto.attribute}
    missing = [a for a in defs.get_schema(proto.op_type, NEWEST).attributes.values() if a.name not in held]
    if missing:
        about = rng.choice(missing)
        kind = AttributeProto.AttributeType.Value(str(about.type).rpartition(".")[2])
        CHANGES.get(kind, _nothing)(rng, proto.attribute.add(name=about.name, type=kind))


def _value(rng: random.Random, tree: Tree) -> None:
    """One or all of a tensor's numbers."""
    for name in _some(rng, tree):
        values = np.array(tree.tensors[name])
        flat = values.reshape(-1)
        place = rng.choice((slice(None), slice(rng.randrange(flat.size), None), rng.randrange(flat.size)))
        with np.errstate(all="ignore"):
            flat[place] = np.array(rng.choice(REAL if values.dtype.kind == "f" else WHOLE)).astype(values.dtype)
        tree.tensors[name] = flat.reshape(values.shape)


def _shape(rng: random.Random, tree: Tree) -> None:
    """More or fewer axes, or other lengths."""
    for name in _some(rng, tree):
        values = tree.tensors[name]
        axis = rng.randrange(values.ndim) if values.ndim else 0
        changed: tuple[Callable[[], np.ndarray], ...] = (
            lambda values=values: values[None],
            lambda values=values: values.reshape(-1),
            lambda values=values: values.reshape(-1)[0],
            lambda values=values: values.T,
            lambda values=values: values[..., None, None],
            lambda values=values, axis=axis: np.repeat(values, 2, axis) if values.ndim else values,
            lambda values=values, axis=axis: np.take(values, [0], axis) if values.ndim else values,
            lambda values=values, axis=axis: np.take(values, [], axis) if values.ndim else values,
            lambda values=values: np.broadcast_to(values.reshape(-1)[:1], (100_000,)),
        )
        tree.tensors[name] = np.ascontiguousarray(rng.choice(changed)())


def _type(rng: random.Random, tree: Tree) -> None:
    for name in _some(rng, tree):
        with np.errstate(all="ignore"):
            tree.tensors[name] = tree.tensors[name].astype(rng.choice(TYPES))


def _input(rng: random.Random, tree: Tree) -> None:
    """Left out, another's, or the net's own."""
    proto = rng.choice(tree.nodes)
    if proto.input:
        place = rng.randrange(len(proto.input))
        proto.input[place] = rng.choice(("", "h", "x", rng.choice(proto.input), *tree.tensors))


def _operator(rng: random.Random, tree: Tree) -> None:
    """Another one with the same inputs and attributes."""
    rng.choice(tree.nodes).op_type = rng.choice(sorted(CONVERTERS))


def _some(rng: random.Random, tree: Tree) -> Iterator[str]:
    """One of the tensors that have a value."""
    full = sorted(name for name, values in tree.tensors.items() if values.size)
    if full:
        yield rng.choice(full)


WRONGS = (_attribute, _attribute, _attribute, _another_attribute, _value, _value, _shape, _shape, _type)
WRONGS += (_input, _operator)
GRAFTED = (grafted,)
