"""Nets with fewer nodes, and with levels in common, compute what they did."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from pruning.measure import session
from pruning.onnx.alike import alike
from pruning.onnx.pack import pack
from pruning.onnx.thin import thin
from pruning.onnx.unpack import unpack
from pruning.onnx.vet import vet
from tests.unit.pruning.onnx.test_weights import made, node, port


def net(scale: float = 2.0**-8, steps: tuple[float, ...] = (0.3, 0.7, 0.05), seed: int = 0) -> ModelProto:
    """Scale, convolution, pooling and two matrices, with weights of eight levels and zero."""
    rng = np.random.default_rng(seed)
    shapes = [(6, 1, 3, 3), (20, 54), (10, 20)]
    weights = [(s * rng.integers(-4, 5, shape)).astype(np.float32) for s, shape in zip(steps, shapes, strict=True)]
    biases = [rng.normal(size=len(W)).astype(np.float32) for W in weights]
    tensors = {f"{kind}{i}": t for kind, group in (("w", weights), ("b", biases)) for i, t in enumerate(group)}
    nodes = [
        node("Mul", ["x", "scale"], ["s"]),
        node("Conv", ["s", "w0", "b0"], ["c"]),
        node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w1", "b1"], ["g"], transB=1),
        node("Relu", ["g"], ["r"]),
        node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
    ]
    stored = [numpy_helper.from_array(t, name) for name, t in tensors.items()]
    stored.append(numpy_helper.from_array(np.array(scale, np.float32), "scale"))
    return made(nodes, stored, [port("x", "N", 1, 8, 8)], [port("y", "N", 10)])


def output(model: ModelProto | bytes) -> np.ndarray:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    x = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8)).astype(np.float32)
    return np.asarray(session(content, threads=1).run(None, {"x": x})[0])


def stored(model: ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_powers_of_two_and_transposes_go_into_the_weights():
    thinner = thin(net())
    assert [n.op_type for n in thinner.graph.node] == ["Conv", "MaxPool", "Flatten", "Gemm", "Relu", "Gemm"]
    assert not any(a.name == "transB" for n in thinner.graph.node for a in n.attribute)
    assert np.array_equal(output(thinner), output(net()))


@pytest.mark.parametrize("scale", [1 / 255, -0.5, 0.0, 2.0**-140])
def test_other_factors_stay(scale: float):
    thinner = thin(net(scale))
    assert thinner.graph.node[0].op_type == "Mul"
    assert np.array_equal(output(thinner), output(net(scale)))


def test_what_others_read_stays():
    model = net()
    model.graph.node.extend([node("Mul", ["w1", "w1"], ["q"]), node("Relu", ["s"], ["t"])])
    model.graph.output.extend([port("q", 20, 54), port("t", "N", 1, 8, 8)])
    thinner = thin(model)
    assert thinner.graph.node[0].op_type == "Mul"
    assert np.array_equal(stored(thinner)["w1"], stored(model)["w1"])
    assert np.array_equal(stored(thinner)["w2"], stored(model)["w2"].T)


def test_layers_in_proportion_get_the_same_levels():
    leveled = alike(net())
    levels = {np.unique(stored(leveled)[f"w{i}"]).tobytes() for i in range(3)}
    assert len(levels) == 1
    np.testing.assert_allclose(output(leveled), output(net()), rtol=2e-5, atol=1e-5)  # sums of 54 rounded products


def test_factors_do_not_pass_other_nodes():
    model = net()
    model.graph.node[5].op_type = "Tanh"  # before the last layer: the first two may still share
    leveled = stored(alike(model))
    assert np.array_equal(leveled["w2"], stored(model)["w2"])
    assert np.array_equal(np.unique(leveled["w0"]), np.unique(leveled["w1"]))
    np.testing.assert_allclose(output(alike(model)), output(model), rtol=2e-5, atol=1e-5)


def test_layers_out_of_proportion_stay():
    model = net()
    for t in model.graph.initializer:
        if t.name in ("w0", "w1"):
            values = numpy_helper.to_array(t)
            t.CopyFrom(numpy_helper.from_array(np.sign(values) * values**2 * (1 + (t.name == "w0") * values), t.name))
    assert all(np.array_equal(a, b) for a, b in zip(stored(model).values(), stored(alike(model)).values(), strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_tiny_files_compute_the_same_to_the_bit(seed: int):
    model = net(seed=seed)
    packed = pack(model)
    assert packed.exact and np.array_equal(output(packed.content), output(model))
    shared = pack(model, levels="shared")
    assert not shared.exact and len(shared.content) < len(packed.content)
    np.testing.assert_allclose(output(shared.content), output(model), rtol=2e-5, atol=1e-5)


def test_a_tiny_file_is_valid_and_taken_again():
    model = net()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    content = pack(model).content
    onnx.checker.check_model(content, full_check=True)
    plain = unpack(vet(content))
    assert not plain.graph.name.startswith("~") and np.array_equal(output(plain), output(model))
    shapes = [[d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim] for p in plain.graph.output]
    assert shapes == [["a", 10]]
