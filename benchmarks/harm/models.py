"""ONNX files: damage to bytes and to protobuf fields, crafted harm, packed files that decode to terabytes."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from benchmarks.fuzzing.mutations import MUTATIONS, mutate
from benchmarks.harm.case import Case, damaged
from pruning.onnx.ops import CONVERTERS
from pruning.onnx.pack import pack
from pruning.onnx.unpack import MARK, OPERATORS
from tests.conftest import tiny_model
from tests.unit.pruning.onnx.crafted import after, ints, node, number
from tests.unit.pruning.onnx.hostile import HOSTILE

SIZES = (0, 1, 2, 3, 8, 64, 1000, 4096, 2**14, 2**16, 2**20, 2**24, 2**28, 2**31, 2**40, 2**62, -1, -2, 2**63 - 1)
GROWING = ("Expand", "Tile", "Pad", "Resize", "ConstantOfShape", "Range", "Concat", "Gather", "OneHot", "Upsample")
TOGETHER = 6  # sizes in a tensor of sizes


@cache
def packed() -> tuple[bytes, ...]:
    """Our own files that decode themselves, by several codecs."""
    rng = np.random.default_rng(0)
    found = []
    for levels, density in ((0, 0.1), (4, 0.1), (2, 0.5)):
        model = tiny_model()
        del model.graph.node[4:], model.graph.initializer[5:]
        for name, shape in (("w1", (72, 300)), ("w2", (300, 40))):
            weight = np.where(rng.random(shape) < density, rng.normal(size=shape), 0)
            if levels:
                weight = np.sign(weight) * np.ceil(np.abs(weight) * levels) / 8
            model.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
        names = ("p", "f", "a", "b", "logits")
        pairs = zip(("Flatten", "MatMul", "Relu", "MatMul"), names, names[1:], ("", "w1", "", "w2"), strict=False)
        model.graph.node.extend(helper.make_node(o, [i, w] if w else [i], [y]) for o, i, y, w in pairs)
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 40
        found.append(pack(model, biases="int8").content)
    return tuple(found)


@cache
def good() -> tuple[bytes, ...]:
    """Nets for mutations to begin with."""
    deep = after(*(node("Relu", f"{'h' if i == 0 else f'r{i - 1}'}", f"r{i}") for i in range(9)), node("Add", "r8 h"))
    return (tiny_model().SerializeToString(), tiny_model(opset=11).SerializeToString(), deep(), *packed())


@cache
def operators() -> tuple[bytes, ...]:
    """The cases that onnx has for each operator, in an opset that ONNX Runtime takes."""
    models = [case.model for case in collect_testcases(None) if case.model is not None]
    for model in models:
        model.ir_version = 10
        for opset in model.opset_import:
            opset.version = min(opset.version, 21)
    return tuple(c for c in (model.SerializeToString() for model in models) if len(c) < 100_000)


@cache
def crafted(name: str) -> bytes:
    return HOSTILE[name]()


def _mutated(rng: random.Random, bases: Sequence[bytes]) -> bytes:
    content = rng.choice(bases)
    return mutate(content, [content], rng.getrandbits(32)) or damaged(rng, content)


def damage(rng: random.Random) -> Case:
    return Case("", damaged(rng, rng.choice(good())), "onnx")


def fields(rng: random.Random) -> Case:
    return Case("", _mutated(rng, good()), "onnx")


def operator(rng: random.Random) -> Case:
    return Case("", _mutated(rng, operators()), "onnx")


def known(rng: random.Random) -> Case:
    """One of the crafted files, as it is or a mutation of it."""
    content = crafted(rng.choice(sorted(HOSTILE)))
    if len(content) < 100_000 and rng.random() < 0.8:
        content = _mutated(rng, [content])
    return Case("", content, "onnx")


def sized(rng: random.Random) -> Case:
    """Operators whose results are as large as their numbers say, on stored numbers or at run time, one or several."""
    nodes, tensors, value = [], [], rng.choice(("h", "h", "c"))
    for i in range(rng.choice((1, 1, 2, 5))):
        op, made = rng.choice(GROWING), f"v{i}"
        sizes = [rng.choice(SIZES) if rng.random() < 0.5 else 1 for _ in range(rng.choice((1, 4, 4, 4, TOGETHER, 8)))]
        tensors += [ints(f"s{i}", *sizes), number(f"n{i}", rng.choice(SIZES[:16]), np.int64)]
        tensors.append(numpy_helper.from_array(np.array(sizes[:4], np.float32), f"f{i}"))
        inputs = {
            "Resize": rng.choice((f"{value} _ f{i}", f"{value} _ _ s{i}")),
            "ConstantOfShape": f"s{i}",
            "Range": f"zero n{i} one",
            "Concat": " ".join([value] * rng.choice((2, 16, 100))),
            "OneHot": f"s{i} n{i} pair",
            "Upsample": f"{value} f{i}",
        }.get(op, f"{value} s{i}")
        nodes.append(node(op, inputs, made, **({"axis": rng.choice((0, 1, 3))} if op == "Concat" else {})))
        value = made
    nodes += [node("Cast", value, "cast", to=TensorProto.FLOAT), node("ReduceMean", "cast", "mean", keepdims=0)]
    tensors += [number("c", 1), number("zero", 0, np.int64), number("one", 1, np.int64)]
    tensors.append(numpy_helper.from_array(np.array([0, 1], np.float32), "pair"))
    build = after(*nodes, node("Add", "h mean"), tensors=tensors, opset=rng.choice((9, 11, 13, 17, 18, 21)))
    return Case("", build(), "onnx")


def laborious(rng: random.Random) -> Case:
    """No value is too large, but there are many, or each takes many products or steps."""
    side, times = rng.choice((256, 1024, 4096, 8192)), rng.choice((10, 100, 1000, 3000))
    op = rng.choice(("Relu", "MatMul", "Conv", "CumSum", "TopK", "Softmax", "Erf", "Einsum", "LSTM"))
    big = [node("Expand", "one s", "v0")]
    for i in range(times):
        big += LINKS.get(op, lambda x, y: [node(op, x, y)])(f"v{i}", f"v{i + 1}")
    mean = [node("ReduceMean", f"v{times}", "mean", keepdims=0), node("Add", "h mean")]
    tensors = [number("one", 1e-3), ints("s", 1, 1, side, side), ints("k", side), number("axis", 3, np.int64)]
    tensors += [numpy_helper.from_array(np.zeros((1, 1, 17, 17), np.float32), "kernel"), ints("steps", -1, 1, 16)]
    tensors += [numpy_helper.from_array(np.full((1, 64, 16), 1e-2, np.float32), name) for name in ("W", "R")]
    at_run_time = rng.random() < 0.6
    if at_run_time:  # it depends on the input, so that nothing is folded
        first = [node("ReduceMean", "h", "m0", axes=[1, 2, 3], keepdims=1), node("Mul", "m0 one", "m1")]
        big[0] = node("Expand", "m1 s", "v0")
        big = [*first, *big]
    return Case(f"laborious {op}", after(*big, *mean, tensors=tensors, opset=17)(), "onnx")


def _recurrent(x: str, y: str) -> list[NodeProto]:
    """All rows one after the other."""
    layer = node("LSTM", f"{x}s W R", f"{y}s", hidden_size=16)
    return [node("Reshape", f"{x} steps", f"{x}s"), layer, node("Reshape", f"{y}s s", y)]


# what is said again and again, where it is more than the operator's name
LINKS: dict[str, Callable[[str, str], list[NodeProto]]] = {
    "MatMul": lambda x, y: [node("MatMul", f"{x} {x}", y)],
    "Conv": lambda x, y: [node("Conv", f"{x} kernel", y, pads=[8] * 4)],
    "Einsum": lambda x, y: [node("Einsum", f"{x} {x} {x}", y, equation="abij,abjk,abkl->abil")],
    "CumSum": lambda x, y: [node("CumSum", f"{x} axis", y)],
    "TopK": lambda x, y: [helper.make_node("TopK", [x, "k"], [y, f"{y}i"])],
    "LSTM": _recurrent,
}


def decoder(rng: random.Random) -> Case:
    """A packed file whose decoder is changed: its numbers, shapes, operators and what it says of itself."""
    model = ModelProto.FromString(rng.choice(packed()))
    for _ in range(rng.choice((1, 1, 2, 4))):
        with suppress(ValueError):  # the last change left a tensor that cannot be read
            rng.choice((_stored_sizes, _decoding_node, _mark, lambda r, m: rng.choice(MUTATIONS)(r, m)))(rng, model)
    return Case("", model.SerializeToString(), "onnx")


def _stored_sizes(rng: random.Random, model: ModelProto) -> None:
    tensor = rng.choice(model.graph.initializer)
    if tensor.data_type != TensorProto.INT64:
        values = np.array(numpy_helper.to_array(tensor))
        flat = values.reshape(-1)
        if flat.size:
            flat[rng.randrange(flat.size)] = rng.choice((0, 1, 127, 255)) if flat.dtype == np.uint8 else 0
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return
    values = [rng.choice(SIZES) if rng.random() < 0.5 else int(v) for v in numpy_helper.to_array(tensor).reshape(-1)]
    shape = rng.choice((list(tensor.dims), [len(values)]))
    tensor.CopyFrom(numpy_helper.from_array(np.array(values, np.int64).reshape(shape), tensor.name))


def _decoding_node(rng: random.Random, model: ModelProto) -> None:
    rng.choice(model.graph.node[:20]).op_type = rng.choice([*sorted(OPERATORS), *CONVERTERS])


def _mark(rng: random.Random, model: ModelProto) -> None:
    said = rng.choice(("0", "1", "5", "40", "99999", "-1", "1e3", "\u0661", "", " 3", "9" * 5000))
    if rng.random() < 0.5:
        model.graph.name = f"~{said}"
    else:
        model.metadata_props.add(key=MARK, value=said)


def marked(rng: random.Random) -> Case:
    """An ordinary net that says that it is packed."""
    model = ModelProto()
    with suppress(DecodeError):  # of some of the crafted a part is left
        model.ParseFromString(rng.choice((*good(), crafted(rng.choice(sorted(HOSTILE))))))
    _mark(rng, model)
    return Case("", model.SerializeToString(), "onnx")


NETS = (damage, damage, damage, fields, fields, fields, fields, known, known, sized, sized, marked)
OPERATORS_OF_ONNX = (operator,)
PACKED = (decoder,)
LABORIOUS = (laborious,)
