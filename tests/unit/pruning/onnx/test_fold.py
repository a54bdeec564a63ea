"""BatchNormalization folded into the file's own layers: the same outputs, one node less."""

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from pruning.measure import run, session
from pruning.onnx.fold import fold_batch_norms
from tests.conftest import DATA

STATS = ("g", "b", "m", "v")
TYPES = {np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE, np.float16: TensorProto.FLOAT16}


def weight(name: str, *shape: int, seed: int = 0, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.random.default_rng(seed).standard_normal(shape).astype(dtype), name)


def stats(name: str, channels: int, dtype: type = np.float32) -> list[TensorProto]:
    """Scale, bias, mean and variance of a BatchNormalization."""
    rng = np.random.default_rng(channels)
    values = rng.standard_normal(channels), rng.standard_normal(channels), rng.standard_normal(channels)
    values = (*values, rng.random(channels) + 0.1)
    return [numpy_helper.from_array(v.astype(dtype), f"{name}.{k}") for k, v in zip(STATS, values, strict=True)]


def norm(name: str, x: str, y: str, **attributes):
    return helper.make_node("BatchNormalization", [x, *(f"{name}.{k}" for k in STATS)], [y], name, **attributes)


def made(nodes, tensors, x=("N", 4, 7, 7), outputs=("y",), dtype=np.float32, opset=17, ir_version=8) -> ModelProto:
    ports = [helper.make_tensor_value_info("x", TYPES[dtype], x)]
    rank = {t.name: len(t.dims) for t in tensors}
    ends = [helper.make_tensor_value_info(k, TYPES[dtype], [None] * rank.get(k, len(x))) for k in outputs]
    if ir_version < 4:
        ports += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    graph = helper.make_graph(nodes, "g", ports, ends, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    checker.check_model(model, full_check=True)
    return model


def behind(op: str, *shape: int, channels: int, biases: tuple[int, ...] | None = None, **attributes) -> ModelProto:
    """One layer, one BatchNormalization, and something after it."""
    tensors = [weight("l.weight", *shape), *stats("bn", channels)]
    tensors += [] if biases is None else [weight("l.bias", *biases, seed=1)]
    given = ["x", "l.weight"] + ([] if biases is None else ["l.bias"])
    layer = helper.make_node(op, given, ["c"], "layer", **attributes)
    nodes = [layer, norm("bn", "c", "n", epsilon=1e-3), helper.make_node("Relu", ["n"], ["y"])]
    return made(nodes, tensors, ("N", 4, 7, 7)[: len(shape)])


def kinds(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def outputs(model: ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    x = model.graph.input[0].type.tensor_type
    shape = [d.dim_value or 3 for d in x.shape.dim]
    values = np.random.default_rng(seed).standard_normal(shape)
    return run(
        session(model.SerializeToString(), 1), {"x": values.astype(helper.tensor_dtype_to_np_dtype(x.elem_type))}
    )


def assert_same(before: ModelProto, after: ModelProto, relative: float = 1e-5) -> None:
    checker.check_model(after, full_check=True)
    expected, found = outputs(before), outputs(after)
    assert expected.keys() == found.keys()
    for name, y in expected.items():
        y = y.astype(np.float64)
        assert np.abs(found[name].astype(np.float64) - y).max() <= relative * np.abs(y).max()


LAYERS = {
    "conv": behind("Conv", 6, 4, 3, 3, channels=6),
    "conv with biases": behind("Conv", 6, 4, 3, 3, channels=6, biases=(6,), pads=[1] * 4),
    "grouped": behind("Conv", 6, 2, 3, 3, channels=6, biases=(6,), group=2),
    "depthwise": behind("Conv", 4, 1, 3, 3, channels=4, group=4, strides=[2, 2]),
    "1d": behind("Conv", 5, 4, 3, channels=5),
    "transposed": behind("ConvTranspose", 4, 6, 3, 3, channels=6, biases=(6,), strides=[2, 2]),
    "transposed, grouped": behind("ConvTranspose", 4, 3, 3, 3, channels=6, group=2),
    "gemm": behind("Gemm", 4, 5, channels=5, biases=(5,)),
    "gemm, transposed": behind("Gemm", 5, 4, channels=5, biases=(5,), transB=1),
    "gemm, square": behind("Gemm", 4, 4, channels=4, biases=(4,)),
    "gemm, square, transposed": behind("Gemm", 4, 4, channels=4, biases=(4,), transB=1),
    "gemm, scaled": behind("Gemm", 4, 5, channels=5, biases=(1, 5), alpha=0.7, beta=0.3),
    "gemm without biases": behind("Gemm", 5, 4, channels=5, transB=1, beta=0.5),
}


@pytest.mark.parametrize("model", LAYERS.values(), ids=list(LAYERS))
def test_it_is_part_of_the_layer(model):
    before = model.SerializeToString()
    folded = fold_batch_norms(model)
    assert kinds(folded) == [kinds(model)[0], "Relu"]
    assert_same(model, folded)
    assert model.SerializeToString() == before
    assert [t.name for t in folded.graph.initializer] == ["l.weight", "l.bias"]
    assert list(folded.graph.node[0].output) == ["n"] and folded.graph.node[1] == model.graph.node[2]
    assert fold_batch_norms(folded) == folded


@pytest.mark.parametrize(("dtype", "relative"), [(np.float64, 1e-12), (np.float16, 5e-3)])
def test_stored_types_stay(dtype, relative):
    """ONNX Runtime has no convolution of doubles on the CPU."""
    tensors = [weight("w", 4, 6, dtype=dtype), *stats("bn", 6, dtype)]
    model = made([helper.make_node("Gemm", ["x", "w"], ["c"]), norm("bn", "c", "y")], tensors, ("N", 4), dtype=dtype)
    folded = fold_batch_norms(model)
    assert {t.data_type for t in folded.graph.initializer} == {TYPES[dtype]} and kinds(folded) == ["Gemm"]
    assert_same(model, folded, relative)


def test_bfloat16_stays():
    tensors = [weight("w", 6, 4, 1, 1, dtype=ml_dtypes.bfloat16), *stats("bn", 6, ml_dtypes.bfloat16)]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("bn", "c", "y")]
    ports = [helper.make_tensor_value_info(k, TensorProto.BFLOAT16, ["N", n, 2, 2]) for k, n in (("x", 4), ("y", 6))]
    folded = fold_batch_norms(helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)))
    assert [t.data_type for t in folded.graph.initializer] == [TensorProto.BFLOAT16] * 2
    scale = np.divide(*(numpy_helper.to_array(t).astype(float) ** p for t, p in ((tensors[1], 1), (tensors[4], 0.5))))
    W = [numpy_helper.to_array(t).astype(float) for t in (tensors[0], folded.graph.initializer[0])]
    assert np.allclose(W[1], W[0] * scale.reshape(-1, 1, 1, 1), rtol=1e-2)


def test_zeros_stay_zeros():
    model = ModelProto()
    model.CopyFrom(LAYERS["conv"])
    W = np.array(numpy_helper.to_array(model.graph.initializer[0]))
    W[np.random.default_rng(0).random(W.shape) < 0.9] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(W, "l.weight"))
    assert np.array_equal(numpy_helper.to_array(fold_batch_norms(model).graph.initializer[0]) == 0, W == 0)


def test_two_in_a_row_and_a_graph_output():
    conv = helper.make_node("Conv", ["x", "w"], ["c"])
    model = made(
        [conv, norm("bn", "c", "n"), norm("two", "n", "y")],
        [weight("w", 6, 4, 3, 3), *stats("bn", 6), *stats("two", 6)],
    )
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, ["N", 6, 5, 5]))
    folded = fold_batch_norms(model)
    assert kinds(folded) == ["Conv"] and not folded.graph.value_info
    assert [t.name for t in folded.graph.initializer] == ["w", "w.bias"]
    assert_same(model, folded)


def test_tensors_may_stand_in_constant_nodes():
    tensors = [weight("w", 6, 4, 3, 3), weight("bias", 6), *stats("bn", 6)]
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in tensors]
    nodes = [*constants[:2], helper.make_node("Conv", ["x", "w", "bias"], ["c"]), *constants[2:], norm("bn", "c", "y")]
    model = made(nodes, [])
    folded = fold_batch_norms(model)
    assert kinds(folded) == ["Constant", "Constant", "Conv"]
    assert_same(model, folded)


def test_a_made_name_is_nobody_elses():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        norm("bn", "c", "w.bias"),
        helper.make_node("Relu", ["w.bias"], ["w.bias_"]),
        helper.make_node("Neg", ["w.bias_"], ["y"]),
    ]
    model = made(nodes, [weight("w", 6, 4, 3, 3), *stats("bn", 6)])
    folded = fold_batch_norms(model)
    assert [t.name for t in folded.graph.initializer] == ["w", "w.bias__"]
    assert_same(model, folded)


def test_old_files_declare_initializers_as_inputs():
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("bn", "c", "y")]
    model = made(nodes, [weight("w", 6, 4, 3, 3), *stats("bn", 6)], opset=8, ir_version=3)
    folded = fold_batch_norms(model)
    assert [port.name for port in folded.graph.input] == ["x", "w", "w.bias"]
    assert_same(model, folded)


def branch(op: str, x: str):
    """One operator as a graph inside an If."""
    return helper.make_graph([helper.make_node(op, [x], [op])], op, [], [helper.make_empty_tensor_value_info(op)])


def staying() -> dict[str, ModelProto]:
    """Nets in which a BatchNormalization is no part of a layer, or is shared."""
    w, bn = weight("w", 4, 4, 1, 1), stats("bn", 4)
    conv, first, last = (
        helper.make_node("Conv", ["x", "w"], ["c"]),
        norm("bn", "c", "n"),
        helper.make_node("Relu", ["n"], ["y"]),
    )
    chosen = helper.make_node("If", ["yes"], ["y"], then_branch=branch("Neg", "c"), else_branch=branch("Abs", "x"))
    by_batch = helper.make_node("BatchNormalization", first.input, ["y", "mean", "var"], training_mode=1)
    second = [helper.make_node("Conv", ["n", "w"], ["d"]), norm("two", "d", "y")]
    other = [helper.make_node("Conv", ["n", "w2"], ["d"]), norm("bn", "d", "y")]
    computed = [helper.make_node("Neg", ["w"], ["v"]), helper.make_node("Conv", ["x", "v"], ["c"])]
    biased = helper.make_node("Conv", ["x", "w", "bias"], ["c"])
    faint = numpy_helper.from_array(np.array([1, 1, 1, 0], np.float32), "bn.v")
    return {
        "first in the graph": made([norm("bn", "x", "c"), helper.make_node("Conv", ["c", "w"], ["y"])], [w, *bn]),
        "read twice": made([conv, first, helper.make_node("Add", ["c", "n"], ["y"])], [w, *bn]),
        "an output too": made([conv, first, last], [w, *bn], outputs=("y", "c")),
        "read in a branch": made(
            [conv, first, chosen], [w, *bn, numpy_helper.from_array(np.array(True), "yes")], outputs=("y", "n")
        ),
        "one weight for two": made([conv, first, *second], [w, *bn, *stats("two", 4)]),
        "one norm for two": made([conv, first, *other], [w, weight("w2", 4, 4, 1, 1, seed=2), *bn]),
        "a bias that is an output": made([biased, first, last], [w, weight("bias", 4), *bn], outputs=("y", "bias")),
        "a computed weight": made([*computed, first, last], [w, *bn]),
        "something between": made([conv, helper.make_node("Relu", ["c"], ["r"]), norm("bn", "r", "y")], [w, *bn]),
        "one bias for all": behind("Gemm", 4, 5, channels=5, biases=(1,)),
        "statistics of the batch": made([conv, by_batch], [w, *bn]),
        "not finite": made([conv, norm("bn", "c", "y", epsilon=0.0)], [w, *bn[:3], faint]),
    }


STAYING = staying()


@pytest.mark.parametrize("model", STAYING.values(), ids=list(STAYING))
def test_otherwise_it_stays(model):
    assert fold_batch_norms(model) == model


@pytest.mark.skipif(not (DATA / "resnet20.onnx").exists(), reason="SECATEUR_DATA holds no ResNet-20")
def test_a_whole_net():
    model = ModelProto.FromString((DATA / "resnet20.onnx").read_bytes())
    folded = fold_batch_norms(model)
    assert "BatchNormalization" in kinds(model) and "BatchNormalization" not in kinds(folded)
    assert len(kinds(model)) - len(kinds(folded)) == kinds(model).count("BatchNormalization")
    port = model.graph.input[0]
    shape = [d.dim_value or 2 for d in port.type.tensor_type.shape.dim]
    x = {port.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    expected, found = (run(session(m.SerializeToString(), 1), x) for m in (model, folded))
    for name, y in expected.items():
        assert np.abs(found[name] - y).max() <= 1e-5 * np.abs(y).max()
