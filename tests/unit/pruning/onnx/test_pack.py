"""A packed file computes what the file did, is smaller, and can be taken apart again."""

import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruning.errors import RejectedModel
from pruning.measure import session
from pruning.onnx.analyse import analyse
from pruning.onnx.codecs import CODECS, codebook, eight, gaps, golomb, raw, split
from pruning.onnx.codecs.choice import choose
from pruning.onnx.codecs.dense import VALUES as DENSE_VALUES
from pruning.onnx.codecs.digits import BASES
from pruning.onnx.codecs.digits import emit as emit_digits
from pruning.onnx.codecs.pieces import Pieces
from pruning.onnx.codecs.sparse import POSITIONS, VALUES
from pruning.onnx.codecs.stored import Stored
from pruning.onnx.convert import stored_tensors
from pruning.onnx.pack import pack
from pruning.onnx.packing import main
from pruning.onnx.unpack import MARK, OPERATORS, unpack
from pruning.onnx.upload import open_upload
from pruning.onnx.vet import vet
from tests.conftest import DATA, HOUSE
from tests.unit.pruning.onnx.test_weights import made, node, port

OPSETS = (11, 13, 18)
LAYERS = ("conv1.w", "conv2.w", "ip1.w", "ip2.w")


def run(pieces: Pieces, *names: str) -> list[np.ndarray]:
    """What the nodes give, without any optimization."""
    graph = helper.make_graph(pieces.nodes, "g", [], [helper.make_empty_tensor_value_info(n) for n in names])
    graph.initializer.extend(pieces.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", pieces.opset)], ir_version=8)
    return [np.asarray(y) for y in session(model.SerializeToString(), threads=1).run(None, {})]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def sparse(rng: np.random.Generator, shape: tuple[int, ...], density: float, levels: int = 0) -> np.ndarray:
    values = rng.normal(size=shape).astype(np.float32)
    if levels:
        values = (0.125 * (1 + rng.integers(0, levels, shape)) * rng.choice([-1, 1], shape)).astype(np.float32)
    return np.where(rng.random(shape) < density, values, np.float32(0))


def lenet(density: float = 0.02, levels: int = 2) -> ModelProto:
    rng = np.random.default_rng(0)
    model = onnx.load(DATA / "lenet5.onnx")
    for tensor in model.graph.initializer:
        if tensor.name in LAYERS:
            tensor.CopyFrom(numpy_helper.from_array(sparse(rng, tuple(tensor.dims), density, levels), tensor.name))
        elif tensor.dims:
            values = rng.normal(size=tuple(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def outputs(content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(y) for y in session(content, threads=1).run(None, feeds)]


def image(examples: int = 3) -> dict[str, np.ndarray]:
    return {"input": np.random.default_rng(0).random((examples, 1, 28, 28), dtype=np.float32)}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("count", [1, 7, 8, 9, 240])
def test_digits_come_back(opset: int, base: int, count: int):
    digits = np.random.default_rng(count).integers(0, base, count)
    pieces = Pieces(opset)
    assert np.array_equal(run(pieces, emit_digits(pieces, digits, base, np.int64))[0], digits)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("codec", [gaps, golomb], ids=lambda c: c.__name__)
@given(positions=st.sets(st.integers(0, 3000), min_size=1, max_size=80))
@settings(max_examples=15, deadline=None)
def test_positions_come_back(opset: int, codec, positions: set[int]):
    expected = np.array(sorted(positions))
    pieces = Pieces(opset)
    found = codec.emit(pieces, expected)
    assert found is not None
    assert np.array_equal(run(pieces, found.indices)[0], expected)
    if found.ones is not None:
        assert same_bits(run(pieces, found.ones)[0], np.ones(len(expected), np.float32))


@pytest.mark.parametrize("modulus", golomb.MODULI)
def test_golombs_code_is_its_formula(modulus: int):
    positions = np.flatnonzero(np.random.default_rng(modulus).random(5000) < 0.02)
    places, low = golomb.encode(positions, modulus)
    assert np.array_equal(modulus * places - np.cumsum(low), positions)
    assert (np.diff(places) > 0).all() and (low >= 0).all() and (low < modulus).all()


def test_split_keeps_every_bit():
    rng = np.random.default_rng(0)
    powers = np.repeat(np.float32(2) ** np.arange(-12, 4), 8)
    values = np.concatenate([powers, -powers, np.nextafter(powers, 0), -np.nextafter(powers, np.float32(9))])
    values = np.concatenate([values, rng.normal(size=2000)]).astype(np.float32)
    values = values[np.abs(values) >= 2.0**-12]
    pieces = Pieces(13)
    found = split.emit(pieces, values)
    assert found is not None
    assert same_bits(run(pieces, found)[0], values)
    assert pieces.size() < 3.6 * len(values) + 700


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_split_takes_single_precision_only(dtype: type):
    assert split.emit(Pieces(13), np.ones(1000, dtype)) is None


def test_split_keeps_rare_values_apart():
    values = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    values = np.append(values, np.array([0.0, -0.0, 1e-40, np.inf, 1e30, -1e-30], np.float32))
    pieces = Pieces(13)
    found = split.emit(pieces, values)
    assert found is not None
    assert same_bits(run(pieces, found)[0], values)


def test_split_leaves_what_it_cannot_keep():
    assert split.emit(Pieces(13), np.float32(10) ** np.linspace(-30, 30, 1000, dtype=np.float32)) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8])
@pytest.mark.parametrize("codec", [raw, codebook], ids=lambda c: c.__name__)
def test_values_come_back(dtype: type, codec):
    values = np.random.default_rng(0).integers(-3, 4, 300).astype(dtype)
    values[0] = -values[0] * 0  # -0 where there is one
    pieces = Pieces(13)
    assert same_bits(run(pieces, codec.emit(pieces, values))[0], values)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("levels", [0, 1, 4])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.4, 1.0])
def test_groups_of_tensors_come_back(name: str, opset: int, levels: int, density: float):
    rng = np.random.default_rng(0)
    shapes = [(8, 3, 3, 3), (300,), (40, 30), (1, 9)]
    group = [Stored(f"w{i}", sparse(rng, shape, density, levels)) for i, shape in enumerate(shapes)]
    for part in (group, group[:1], group[1:2]):
        pieces = Pieces(opset, [one.name for one in part])
        if CODECS[name](pieces, part) is None:
            continue
        for one, found in zip(part, run(pieces, *(one.name for one in part)), strict=True):
            assert same_bits(found, one.values)
        assert {n.op_type for n in pieces.nodes} <= OPERATORS


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    density=st.floats(0, 1),
    bits=st.integers(0, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_tensor_survives(shape: list[int], density: float, bits: int, seed: int):
    rng = np.random.default_rng(seed)
    W = sparse(rng, tuple(shape), density, 2**bits if bits else 0)
    nodes = [node("Add", ["x", "w"], ["y"])]
    model = made(nodes, [numpy_helper.from_array(W, "w")], [port("x", *shape)], [port("y", *shape)])
    packed = pack(model)
    assert packed.exact and packed.largest_change == 0
    x = {"x": rng.normal(size=shape).astype(np.float32)}
    assert same_bits(outputs(packed.content, x)[0], outputs(model.SerializeToString(), x)[0])


@pytest.mark.parametrize("shape", [(0,), (0, 4), (), (1,)])
def test_tensors_of_no_size_stay(shape: tuple[int, ...]):
    W = np.zeros(shape, np.float32)
    model = made([node("Add", ["x", "w"], ["y"])], [numpy_helper.from_array(W, "w")], [port("x", 1)], [port("y", None)])
    assert pack(model).exact


@pytest.mark.parametrize("levels", [0, 2, 4])
def test_a_packed_net_computes_the_same_and_is_taken_again(levels: int):
    model = lenet(levels=levels)
    packed = pack(model)
    assert packed.exact
    for found, expected in zip(
        outputs(packed.content, image()), outputs(model.SerializeToString(), image()), strict=True
    ):
        assert np.array_equal(found, expected)
    again = vet(packed.content)
    plain = unpack(again)
    assert not any(p.key == MARK for p in plain.metadata_props)
    given, found = analyse(model)[0], analyse(plain)[0]
    assert [(k.kind, k.weights) for k in given.layers] == [(k.kind, k.weights) for k in found.layers]
    assert pack(plain).content == packed.content or abs(len(pack(plain).content) - len(packed.content)) < 50


def test_a_small_net_takes_few_bytes():
    packed = pack(lenet(density=0.0036, levels=2), biases="float32")
    kept = sum(t.nonzeros for t in packed.tensors if t.name in LAYERS)
    assert 1300 < kept < 1800
    assert len(packed.content) < 580 * 4 + kept * 12 / 8 + 1200  # biases, a weight in 12 bits, graph and decoder


def test_a_net_of_single_precision_takes_33_bits_a_weight():
    packed = pack(lenet(density=0.1, levels=0))
    kept = sum(t.nonzeros for t in packed.tensors if t.name in LAYERS)
    assert len(packed.content) < kept * 33.5 / 8 + 4000


def test_calls_take_as_long_as_before():
    model = lenet(levels=0)
    sessions = [session(c, threads=1) for c in (model.SerializeToString(), pack(model).content)]
    times: list[list[float]] = [[], []]
    for _ in range(200):
        for s, seconds in zip(sessions, times, strict=True):
            start = time.perf_counter()
            s.run(None, image(1))
            seconds.append(time.perf_counter() - start)
    assert min(times[1]) < 2 * min(times[0])  # were decoding not done once, it would be ten times


def test_small_tensors_leave_others_their_codec():
    rng = np.random.default_rng(0)
    tensors = [Stored(f"w{i}", sparse(rng, (60, 60), 0.1)) for i in range(21)]
    tensors += [Stored(f"b{i}", sparse(rng, (i,), 1.0)) for i in range(1, 20)]
    choices = choose(tensors, 18)
    assert sorted(t.name for c in choices for t in c.group) == sorted(t.name for t in tensors)
    assert all(c.codec for c in choices for t in c.group if t.values.ndim > 1)


def test_rounded_biases_say_so():
    exact, rounded = pack(lenet()), pack(lenet(), biases="int8")
    assert not rounded.exact and len(rounded.content) < len(exact.content) - 1000
    model = lenet()
    largest = max(abs(numpy_helper.to_array(t)).max() for t in model.graph.initializer if t.name.endswith(".b"))
    assert 0 < rounded.largest_change <= largest / 254 * 1.001
    assert {t.name for t in rounded.tensors if t.codec == "int8"} == {"conv1.b", "conv2.b", "ip1.b", "ip2.b"}


def test_few_biases_are_kept_and_others_rounded():
    rng = np.random.default_rng(0)
    nodes = [node("Gemm", ["x", "v", "few"], ["z"]), node("Gemm", ["z", "w", "many"], ["y"])]
    tensors = {"v": sparse(rng, (40, 7), 0.1), "w": sparse(rng, (7, 90), 0.1)}
    tensors |= {"few": rng.normal(size=7).astype(np.float32), "many": rng.normal(size=90).astype(np.float32)}
    stored = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    model = made(nodes, stored, [port("x", "N", 40)], [port("y", "N", 90)])
    exact, rounded = pack(model), pack(model, biases="int8")
    assert exact.exact and not rounded.exact and len(rounded.content) < len(exact.content) - 150
    kept = {t.name: numpy_helper.to_array(t) for t in unpack(vet(rounded.content)).graph.initializer}
    assert any(same_bits(values, tensors["few"]) for values in kept.values())
    assert not any(same_bits(values, tensors["many"]) for values in kept.values())


def test_vectors_of_zeros_are_not_rounded():
    assert eight.rounded([Stored("b", np.zeros(10, np.float32))]) == ()
    assert eight.emit(Pieces(13), np.zeros(10, np.float32)) is None


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("opset", [9, 11, 17])
def test_other_types_and_opsets(kind: int, opset: int):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    W = sparse(np.random.default_rng(0), (64, 64), 0.1).astype(dtype)
    ends = [helper.make_tensor_value_info("x", kind, ["N", 64])], [helper.make_tensor_value_info("y", kind, ["N", 64])]
    model = made([node("MatMul", ["x", "w"], ["y"])], [numpy_helper.from_array(W, "w")], *ends, opset=opset)
    packed = pack(model)
    assert packed.exact and len(packed.content) < 0.4 * model.ByteSize()
    x = {"x": np.ones((2, 64), dtype)}
    assert np.array_equal(outputs(packed.content, x)[0], outputs(model.SerializeToString(), x)[0])
    found = stored_tensors(unpack(vet(packed.content)))
    assert any(same_bits(numpy_helper.to_array(t), W) for t in found.values())


def test_constants_shared_weights_and_inputs_that_are_initializers():
    rng = np.random.default_rng(0)
    W, V = sparse(rng, (64, 64), 0.05), sparse(rng, (64, 64), 0.05)
    constant = helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(V))
    nodes = [
        constant,
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["a", "w"], ["b"]),
        node("MatMul", ["b", "v"], ["y"]),
    ]
    inputs = [port("x", "N", 64), port("w", 64, 64)]
    model = made(nodes, [numpy_helper.from_array(W, "w")], inputs, [port("y", "N", 64)], opset=8)
    model.ir_version = 3
    packed = pack(model)
    assert {t.name for t in packed.tensors if t.codec != "plain"} == {"w", "v"}
    assert [i.name for i in vet(packed.content).graph.input] == ["x"]
    x = {"x": np.ones((2, 64), np.float32)}
    assert np.array_equal(outputs(packed.content, x)[0], outputs(model.SerializeToString(), x)[0])


def test_a_file_that_is_not_packed_stays_as_it_is():
    model = onnx.load(DATA / "lenet5.onnx")
    assert unpack(model) is model


@pytest.mark.parametrize("value", ["", "x", "0", "-1", "99999", "1000000", "²"])
def test_a_wrong_mark_is_refused(value: str):
    model = onnx.load(DATA / "lenet5.onnx")
    model.metadata_props.add(key=MARK, value=value)
    with pytest.raises(RejectedModel, match="by how many"):
        unpack(model)


def test_only_our_operators_on_stored_tensors_are_computed():
    model = onnx.load(DATA / "lenet5.onnx")
    model.metadata_props.add(key=MARK, value="2")
    with pytest.raises(RejectedModel, match="other operators"):
        unpack(model)
    model.metadata_props[0].value = "1"
    with pytest.raises(RejectedModel, match="not stored"):
        unpack(model)


@pytest.mark.parametrize(("elements", "times"), [(2**29, 1), (2**27, 3), (2**28, 9)])
def test_a_decoder_may_not_swell(elements: int, times: int):
    nodes = [node("ConstantOfShape", ["n"], [f"z{i}"]) for i in range(times)]
    nodes.append(helper.make_node("Sum", ["x", *(f"z{i}" for i in range(times))], ["y"]))
    model = made(nodes, [numpy_helper.from_array(np.array([elements]), "n")], [port("x", 1)], [port("y", elements)])
    model.metadata_props.add(key=MARK, value=str(times))
    with pytest.raises(RejectedModel, match="more than"):
        unpack(model)


def test_a_decoder_of_unknown_size_is_refused():
    nodes = [node("Expand", ["a", "n"], ["s"]), node("ConstantOfShape", ["s"], ["z"]), node("Add", ["x", "z"], ["y"])]
    tensors = [numpy_helper.from_array(np.array([2**20]), "a"), numpy_helper.from_array(np.array([3]), "n")]
    model = made(nodes, tensors, [port("x", 1)], [port("y", None)])
    model.metadata_props.add(key=MARK, value="2")
    with pytest.raises(RejectedModel, match="does not say how much"):
        unpack(model)


def test_a_decoder_multiplies_by_stored_vectors_only():
    nodes = [node("ConstantOfShape", ["n"], ["a"]), node("MatMul", ["a", "a"], ["z"]), node("Add", ["x", "z"], ["y"])]
    model = made(nodes, [numpy_helper.from_array(np.array([9, 9]), "n")], [port("x", 9, 9)], [port("y", 9, 9)])
    model.metadata_props.add(key=MARK, value="2")
    with pytest.raises(RejectedModel, match="no stored vector"):
        unpack(model)


@pytest.mark.parametrize("operator", ["Div", "Mod"])
@pytest.mark.parametrize("divisor", [-1, 0])
def test_a_decoder_divides_by_positive_numbers_only(operator: str, divisor: int):
    nodes = [node(operator, ["a", "b"], ["q"]), node("Cast", ["q"], ["z"], to=1), node("Add", ["x", "z"], ["y"])]
    numbers = {"a": np.full(9, np.iinfo(np.int64).min), "b": np.array([divisor])}
    tensors = [numpy_helper.from_array(values, name) for name, values in numbers.items()]
    model = made(nodes, tensors, [port("x", 9)], [port("y", 9)])
    model.metadata_props.add(key=MARK, value="1")
    with pytest.raises(RejectedModel, match="no stored positive number"):
        unpack(model)


def test_what_is_decoded_is_vetted_as_if_it_had_been_stored():
    nodes = [node("Mul", ["a", "a"], ["n"]), node("Expand", ["x", "n"], ["z"]), node("ReduceMax", ["z"], ["y"])]
    model = made(nodes, [numpy_helper.from_array(np.array([300, 300]), "a")], [port("x", 1, 1)], [port("y", 1, 1)])
    model.metadata_props.add(key=MARK, value="1")
    vet(model.SerializeToString())
    with pytest.raises(RejectedModel, match=r"dimensions \[90000, 90000\]"):
        open_upload(model.SerializeToString())


def test_every_codec_is_in_a_table():
    tables = (CODECS, POSITIONS, VALUES, DENSE_VALUES)
    named = {codec.__module__.rpartition(".")[2] for table in tables for codec in table.values()}
    folder = {p.stem for p in (HOUSE / "pruning/onnx/codecs").glob("*.py")}
    assert folder - {"__init__", "choice", "digits", "pieces", "stored"} == named


def test_graphs_inside_nodes_are_packed_too():
    rng = np.random.default_rng(0)
    W = sparse(rng, (64, 64), 0.05)
    W_of = [numpy_helper.from_array(W + i * W, f"w{i}") for i in range(2)]
    inner = [
        helper.make_graph([node("MatMul", ["x", f"w{i}"], [f"z{i}"])], "g", [], [port(f"z{i}", "N", 64)], [W_of[i]])
        for i in range(2)
    ]
    choose = node("If", ["c"], ["y"], then_branch=inner[0], else_branch=inner[1])
    model = made([choose], [], [port("x", "N", 64), port("c", dtype=TensorProto.BOOL)], [port("y", "N", 64)])
    packed = pack(model)
    assert packed.exact and len(packed.content) < 0.2 * model.ByteSize()
    for c in (True, False):
        x = {"x": np.ones((2, 64), np.float32), "c": np.array(c)}
        assert np.array_equal(outputs(packed.content, x)[0], outputs(model.SerializeToString(), x)[0])


def test_the_command_packs_and_says_so(tmp_path, capsys):
    source, target = tmp_path / "pruned.onnx", tmp_path / "packed.onnx"
    source.write_bytes(lenet().SerializeToString())
    assert main([str(source), "-o", str(target)]) == 0
    said = capsys.readouterr().out
    assert "times smaller; every number to the bit" in said and "ip1.w" in said and "session creation" in said
    assert np.array_equal(outputs(target.read_bytes(), image())[0], outputs(source.read_bytes(), image())[0])


def test_zeros_of_masks_have_no_sign():
    """Half of what a mask is multiplied by is negative; a vector that is added keeps its zeros as they are."""
    rng = np.random.default_rng(0)
    W = (rng.normal(size=(128, 128)) * (rng.random((128, 128)) < 0.05)).astype(np.float32)
    b = np.full(128, -0.0, np.float32)
    assert np.signbit(W[W == 0]).any()
    nodes = [node("MatMul", ["x", "W"], ["z"]), node("Add", ["z", "b"], ["y"])]
    stored = [numpy_helper.from_array(W, "W"), numpy_helper.from_array(b, "b")]
    signed = made(nodes, stored, [port("x", "N", 128)], [port("y", "N", 128)])
    plain = made(
        nodes, [numpy_helper.from_array(W + np.float32(0), "W"), stored[1]], [port("x", "N", 128)], [port("y")]
    )
    packed = pack(signed)
    assert packed.exact and len(packed.content) < 5000 and abs(len(packed.content) - len(pack(plain).content)) < 100
    x = {"x": rng.normal(size=(3, 128)).astype(np.float32)}
    assert np.array_equal(outputs(packed.content, x)[0], outputs(signed.SerializeToString(), x)[0])
    kept = [numpy_helper.to_array(t) for t in unpack(vet(packed.content)).graph.initializer]
    assert any(same_bits(values, b) for values in kept)
    assert same_bits(numpy_helper.to_array(signed.graph.initializer[0]), W), "the caller's model stays as it is"


def test_the_command_refuses_in_words(tmp_path, capsys):
    source, target = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
    source.write_bytes(b"no model")
    assert main([str(source), "-o", str(target)]) == 1
    assert "not an ONNX file" in capsys.readouterr().err
    source.write_bytes(pack(lenet()).content)
    assert main([str(source), "-o", str(target)]) == 1
    assert "packed already" in capsys.readouterr().err
    assert not target.exists()
    before = source.read_bytes()
    for wrong in (tmp_path, source):
        assert main([str(source), "-o", str(wrong)]) == 1
        assert "name another file" in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.parametrize("share", [0.02, 0.08, 0.2, 0.5])
def test_a_few_zeros_are_no_reason_to_keep_a_tensor_as_it_is(share):
    rng = np.random.default_rng(0)
    W = rng.normal(size=(128, 128)).astype(np.float32) * 0.05
    few = np.where(rng.random(W.shape) < share, 0, W).astype(np.float32)
    few.flat[:3] = -0.0, 1e-40, 0.0
    sizes = []
    for values in (W, few):
        packed = pack(matmul(values))
        assert packed.exact and packed.tensors[0].codec != "plain"
        sizes.append(len(packed.content))
    assert sizes[1] <= sizes[0] + 100


def matmul(W: np.ndarray) -> ModelProto:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 128]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "W"], ["y"])
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [numpy_helper.from_array(W, "W")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
