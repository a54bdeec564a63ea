"""A kernel without its zero border computes what the whole one does."""

import numpy as np
import pytest
from hypothesis import given

from pruning.onnx.columns import layers, rewritten
from pruning.onnx.trim import Window, narrow, trimmed
from tests.unit.pruning.onnx.columned import convolution, convolutions
from tests.unit.pruning.onnx.test_random_graphs import SMALL
from tests.unit.pruning.onnx.test_shrink import TOLERANCE, difference


def only(*places: tuple[slice, slice], size: int = 3) -> np.ndarray:
    """(4, 2, size, size), zero but in these places."""
    W, values = np.zeros((4, 2, size, size), np.float32), np.random.default_rng(0).standard_normal((4, 2, size, size))
    for rows, columns in places:
        W[:, :, rows, columns] = values[:, :, rows, columns]
    return W


CENTRE, ALL = slice(1, 2), slice(None)
CASES = {
    "the centre": (only((CENTRE, CENTRE)), {"pads": [1] * 4}, (1, 1), [0] * 4),
    "a column": (only((ALL, CENTRE)), {"pads": [1] * 4}, (3, 1), [1, 0, 1, 0]),
    "a corner": (only((slice(2), slice(1, 3))), {"pads": [1] * 4}, (2, 2), [1, 0, 0, 1]),
    "holes stay": (only((slice(1), slice(1)), (slice(2, 3), slice(2, 3))), {"pads": [1] * 4}, None, None),
    "dilated": (only((CENTRE, ALL)), {"pads": [2, 1, 2, 1], "dilations": [2, 1]}, (1, 3), [0, 1, 0, 1]),
    "not as far as the padding": (only((CENTRE, ALL)), {"pads": [1, 0, 0, 0]}, (2, 3), [0] * 4),
    "less than a dilated row": (only((CENTRE, CENTRE)), {"pads": [1] * 4, "dilations": [2, 2]}, None, None),
    "same": (only((CENTRE, CENTRE)), {"auto_pad": "SAME_UPPER"}, (1, 1), [0] * 4),
    "same with a stride": (only((CENTRE, CENTRE)), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, None, None),
    "the odd one first": (only((ALL, slice(1)), size=2), {"auto_pad": "SAME_LOWER"}, None, None),
    "the odd one last": (only((slice(1), ALL), size=2), {"auto_pad": "SAME_UPPER"}, (1, 2), [0, 0, 0, 1]),
    "strides": (only((CENTRE, CENTRE)), {"pads": [1] * 4, "strides": [2, 3]}, (1, 1), [0] * 4),
}


@pytest.mark.parametrize("name", CASES)
def test_known_kernels(name):
    W, attributes, kernel, pads = CASES[name]
    model = convolution(W, [7, 8], **attributes)
    (layer,) = layers(model)
    small, change = narrow(layer), trimmed(layer)
    assert (change is None) == (kernel is None)
    if change is not None:
        assert small.W.shape[2:] == kernel and small.attribute("pads") == pads
        assert difference(model, rewritten(model, {"w": change})) <= TOLERANCE


@SMALL
@given(convolutions())
def test_what_is_trimmed_computes_the_same_and_is_not_trimmed_again(model):
    for layer in layers(model):
        small = narrow(layer)
        assert narrow(small) is small
        assert np.count_nonzero(small.W) == np.count_nonzero(layer.W)
        if (change := trimmed(layer)) is not None:
            window = Window.of(small)
            assert window is not None and min(*window.begins, *window.ends) >= 0
            assert difference(model, rewritten(model, {"w": change})) <= TOLERANCE


def test_a_kernel_of_zeros_stays():
    (layer,) = layers(convolution(only(), [7, 7], pads=[1] * 4))
    assert trimmed(layer) is None
