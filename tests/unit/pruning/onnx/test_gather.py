"""A layer in another form computes what it did, and its weight keeps its name and all that is not zero."""

import time

import numpy as np
import onnx
import pytest
from hypothesis import given
from onnx import ModelProto, TensorProto, numpy_helper

from pruning.onnx.agree import compare
from pruning.onnx.analyse import analyse
from pruning.onnx.columns import layers, rewritten
from pruning.onnx.forms import FORMS
from pruning.onnx.gather import BLOCK, shifted, windows
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from tests.unit.pruning.onnx.columned import convolution, convolutions, kept, without_columns
from tests.unit.pruning.onnx.test_random_graphs import SMALL
from tests.unit.pruning.onnx.test_shrink import TOLERANCE, difference, fed, files, outputs
from tests.unit.pruning.onnx.test_weights import made, node, port, tensor

HALF = 5e-3  # half precision is rounded behind every node


def sparse(*shape: int, share: float = 0.8, dtype: type = np.float32) -> np.ndarray:
    rng = np.random.default_rng(0)
    W = rng.standard_normal(shape).astype(dtype)
    W[:, rng.random(shape[1:]) < share] = 0
    return W


def forms_of(model: ModelProto) -> dict[str, ModelProto]:
    """The model with all of its layers in one form, by form."""
    found = {}
    for form, make in FORMS.items():
        changes = {layer.weight: rewrite for layer in layers(model) if (rewrite := make(layer)) is not None}
        if changes:
            found[form] = rewritten(model, changes)
    return found


@SMALL
@given(convolutions())
def test_convolutions_keep_their_outputs(model):
    for form, other in forms_of(model).items():
        onnx.checker.check_model(other, full_check=True)
        assert difference(model, other) <= TOLERANCE, form
        assert kept(other)["w"] == kept(model)["w"], form


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("sizes", [[9, 8], ["H", "W"]])
def test_types_and_sizes_that_are_not_known(dtype, sizes):
    model = convolution(sparse(8, 16, 3, 3, dtype=dtype), sizes, pads=[1, 1, 1, 1])
    found = forms_of(model)
    assert found.keys() == {"gathered", "gathered by windows"}
    x = {"x": np.random.default_rng(1).standard_normal((5, 16, 9, 8)).astype(dtype)}
    limit, (expected,) = HALF if dtype == np.float16 else TOLERANCE, outputs(model, x)
    for other in found.values():
        (got,) = outputs(other, x)
        assert got.dtype == dtype and np.abs(got - expected).max() <= limit * np.abs(expected).max()


def test_double():
    """Of dense layers alone: ONNX Runtime has no such convolution."""
    W = sparse(3, 12, dtype=np.float64).T.copy()
    ports = [port("x", "N", 5, 12, dtype=TensorProto.DOUBLE)], [port("y", "N", 5, 3, dtype=TensorProto.DOUBLE)]
    model = made([node("MatMul", ["x", "w"], ["y"])], [numpy_helper.from_array(W, "w")], *ports)
    x = np.random.default_rng(0).standard_normal((2, 5, 12))
    (got,) = outputs(forms_of(model)["gathered inputs"], {"x": x})
    assert np.abs(got - x @ W).max() <= 1e-12


@pytest.mark.parametrize("form", ["MatMul", "Gemm", "Gemm transB"])
def test_dense_layers_read_their_living_inputs(form):
    op, *transposed = form.split()
    W = sparse(7, 40)
    stored = numpy_helper.from_array(W if transposed else W.T.copy(), "w")
    attributes = {"transB": 1} if transposed else {}
    nodes = [node(op, ["x", "w"] + ["b"] * (op == "Gemm"), ["y"], **attributes)]
    model = made(nodes, [stored, tensor("b", 7)], [port("x", "N", 40)], [port("y", "N", 7)])
    other = forms_of(model)["gathered inputs"]
    live = int(W.any(0).sum())
    assert sorted(next(t.dims for t in other.graph.initializer if t.name == "w")) == sorted([7, live])
    assert difference(model, other) <= TOLERANCE and kept(other)["w"] == kept(model)["w"]


def test_only_living_columns_are_stored():
    W = sparse(8, 32, 3, 3, share=0.75)
    live = int(W.any(0).sum())
    (layer,) = layers(convolution(W, [8, 8]))
    by_shift, by_window = shifted(layer), windows(layer)
    assert by_window is not None and by_window.W.shape == (8, live, 1, 1)
    assert by_shift is not None and by_shift.W.shape == (8, -(-live // BLOCK) * BLOCK, 1, 1)


@pytest.mark.parametrize("W", [sparse(4, 8, 3, 3, share=0), sparse(4, 8, 3, 3, share=1), sparse(4, 1, 3, 3)])
def test_nothing_to_gain(W):
    """No column is dead, all are, or so few inputs that rounding up to a block leaves as many."""
    model = convolution(W, [8, 8])
    assert all(shifted(layer) is None for layer in layers(model))


def test_what_is_read_twice_stays():
    model = convolution(sparse(8, 8, 3, 3), [8, 8], pads=[1, 1, 1, 1])
    model.graph.node.append(node("Conv", ["y", "w"], ["z"]))
    model.graph.output[0].name = "z"
    assert layers(model) == []


def test_new_names_begin_as_no_other_does():
    model = convolution(sparse(8, 32, 3, 3), [8, 8], pads=[1] * 4)
    stems = [layers(model)[0].stem]
    for _ in range(2):
        model.graph.node.append(node("Relu", ["y"], [f"{stems[-1]}.0"]))
        stems.append(layers(model)[0].stem)
    assert stems == ["c.live", "c.live_", "c.live__"]


def test_layers_of_a_graph_of_many_nodes_are_found_soon():
    w = numpy_helper.from_array(np.eye(2, dtype=np.float32))
    nodes, tensors = [], []
    for i in range(8000):
        nodes.append(node("MatMul", [f"h{i}", f"w{i}"], [f"h{i + 1}"]))
        tensors.append(TensorProto(name=f"w{i}", dims=w.dims, data_type=w.data_type, raw_data=w.raw_data))
    model = made(nodes, tensors, [port("h0", "N", 2)], [port("h8000", "N", 2)])
    start = time.process_time()
    assert len(layers(model)) == 8000
    assert time.process_time() - start < 10  # each of them against all names took a minute


@pytest.mark.parametrize("ir_version", [3, 8])
def test_before_initializers_stood_alone_they_are_inputs(ir_version):
    model = convolution(sparse(8, 32, 3, 3), [8, 8], opset=8)
    model.ir_version = ir_version
    if ir_version == 3:
        model.graph.input.extend(
            onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer
        )
    for other in forms_of(model).values():
        onnx.checker.check_model(other)
        assert difference(model, other) <= TOLERANCE


@pytest.mark.parametrize("path", files(), ids=lambda p: p.stem)
def test_files_in_the_wild_without_columns(path):
    model = without_columns(unshare(onnx.load(path)), 0.8)
    found = forms_of(model)
    for other in found.values():
        onnx.checker.check_model(other)
        assert {k: kept(other)[k] for k in kept(model)} == kept(model)
        if "silero" not in path.stem:  # it takes whole numbers too
            assert difference(model, other) <= (HALF if "fp16" in path.stem else TOLERANCE)


def test_the_result_is_taken_in_again():
    W, V = sparse(8, 3, 3, 3, share=0), sparse(8, 8, 3, 3)
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "v"], ["c"], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["c"], ["d"]),
        node("Flatten", ["d"], ["e"]),
        node("Gemm", ["e", "g"], ["y"]),
    ]
    stored = [numpy_helper.from_array(values, name) for name, values in (("w", W), ("v", V))]
    model = made(nodes, [*stored, tensor("g", 8, 4)], [port("x", "N", 3, 8, 8)], [port("y", "N", 4)])
    for other in forms_of(model).values():
        content = other.SerializeToString()
        _, network = analyse(unshare(vet(content)))
        agreement = compare(content, network, fed(model))
        assert agreement is not None and agreement.relative <= TOLERANCE
        assert {"w", "v", "g"} <= {layer.weight for layer in network.layers.values()}
