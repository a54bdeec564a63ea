"""Convolutions as matrix products compute what they did, and keep their weights."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import ModelProto, helper, numpy_helper

from pruning.onnx import product as module
from pruning.onnx.analyse import analyse
from pruning.onnx.columns import layers, rewritten
from pruning.onnx.product import MOST_PIXELS, product
from pruning.tally import tally
from tests.unit.pruning.onnx.columned import convolution, convolutions, kept
from tests.unit.pruning.onnx.test_shrink import TOLERANCE, difference
from tests.unit.pruning.onnx.test_weights import port


@pytest.fixture
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers and large images too."""
    monkeypatch.setattr(module, "LEAST_BYTES", 0)
    monkeypatch.setattr(module, "MOST_PIXELS", 1000)


def as_product(model: ModelProto) -> ModelProto | None:
    (layer,) = layers(model)
    change = product(layer)
    return None if change is None else rewritten(model, {layer.weight: change})


def dense(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@given(convolutions())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("of_any_size")
def test_convolutions_keep_their_outputs(model: ModelProto):
    other = as_product(model)
    if other is not None:
        onnx.checker.check_model(other, full_check=True)
        assert difference(model, other) <= TOLERANCE
        assert kept(other)["w"] == kept(model)["w"]


@pytest.mark.parametrize(
    ("kernel", "sizes", "attributes", "seen"),
    [
        ((3, 3), [4, 4], {"pads": [1] * 4}, True),
        ((3, 3), [2, 2], {"pads": [1] * 4}, True),
        ((1, 1), [4, 4], {}, False),
        ((4, 4), [4, 4], {}, False),
        ((3, 3), [8, 8], {"pads": [1] * 4, "strides": [2, 2]}, True),
        ((3,), [9], {"dilations": [2]}, True),
    ],
)
def test_each_pixel_is_gathered_once_for_each_place_that_sees_it(kernel, sizes, attributes, seen):
    model = convolution(dense(192, 128, *kernel) / 20, sizes, **attributes)
    other = as_product(model)
    assert other is not None and difference(model, other) <= TOLERANCE
    assert {"Gemm"} <= {n.op_type for n in other.graph.node} and "Conv" not in {n.op_type for n in other.graph.node}
    assert ("Gather" in {n.op_type for n in other.graph.node}) == seen
    stored = next(t for t in other.graph.initializer if t.name == "w")
    assert list(stored.dims) == [192, 128 * int(np.prod(kernel))]


def test_places_that_no_filter_looks_at_are_left_out():
    W = dense(64, 64, 3, 3)
    W[:, :, 0] = 0
    model = convolution(W, [3, 3], pads=[1] * 4)
    other = as_product(model)
    assert other is not None and difference(model, other) <= TOLERANCE
    assert list(next(t for t in other.graph.initializer if t.name == "w").dims) == [64, 6 * 64]


def test_a_size_that_only_an_output_declares_is_not_known():
    """ONNX Runtime gives outputs of other shapes than they say."""
    model = convolution(dense(64, 64, 3, 3), ["H", "W"], pads=[1] * 4)
    model.graph.node.append(helper.make_node("Conv", ["y", "v"], ["z"], pads=[1] * 4))
    model.graph.initializer.append(numpy_helper.from_array(dense(64, 64, 3, 3), "v"))
    model.graph.output[0].CopyFrom(port("y", "N", 64, 2, 2))
    model.graph.output.append(port("z", "N", 64, None, None))
    assert [layer.sizes for layer in layers(model)] == [(), ()]


def test_filters_are_counted_where_they_are_rows():
    W = dense(64, 64, 3, 3)
    whole, left = (convolution(part, [3, 3], pads=[1] * 4) for part in (W, W[:48]))
    other = as_product(left)
    assert other is not None
    found = tally(other.SerializeToString(), analyse(whole)[1], quantized=False)
    assert found.removed == found.layers[0].filters_removed == 16
    assert (found.layers[0].kept, found.layers[0].stored) == (48 * 576, 48 * 576)


@pytest.mark.parametrize(
    ("W", "sizes", "attributes"),
    [
        (dense(64, 64, 3, 3), ["H", "W"], {"pads": [1] * 4}),
        (dense(64, 64, 3, 3), [4, "W"], {"pads": [1] * 4}),
        (dense(64, 64, 3, 3), [MOST_PIXELS, 2], {"pads": [1] * 4}),
        (dense(8, 8, 3, 3), [4, 4], {"pads": [1] * 4}),
        (dense(64, 32, 3, 3), [4, 4], {"pads": [1] * 4, "groups": 2}),
        (dense(64, 64, 3, 3).astype(np.float16), [4, 4], {"pads": [1] * 4}),
    ],
)
def test_others_stay(W, sizes, attributes):
    """Sizes that are not known, many pixels, few weights, groups, other types."""
    assert as_product(convolution(W, sizes, **attributes)) is None
