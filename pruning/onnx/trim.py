"""Convolutions with a smaller kernel, where whole rows or columns at its border are zero."""

from dataclasses import dataclass

import numpy as np

from pruning.onnx.columns import Draft, Layer, Rewrite, narrowed


@dataclass(frozen=True)
class Window:
    """How a kernel meets its input, along each spatial axis. begins, ends: positions of zeros around it."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, layer: Layer) -> "Window | None":
        """None where the padding depends on the size of the input."""
        kernel = layer.W.shape[2:]
        strides = tuple(layer.attribute("strides", [1] * len(kernel)))
        dilations = tuple(layer.attribute("dilations", [1] * len(kernel)))
        pads = layer.attribute("pads", [0] * (2 * len(kernel)))
        mode = layer.attribute("auto_pad", "NOTSET")
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            if any(s != 1 for s in strides):
                return None
            whole = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
            less, more = [n // 2 for n in whole], [n - n // 2 for n in whole]
            pads = [*less, *more] if mode == "SAME_UPPER" else [*more, *less]
        elif mode == "VALID":
            pads = [0] * (2 * len(kernel))
        return cls(kernel, strides, dilations, tuple(pads[: len(kernel)]), tuple(pads[len(kernel) :]))


def narrow(layer: Layer) -> Layer:
    """The layer without zero rows and columns at the border of its kernel, as far as it is padded there.

    What goes from a kernel goes from the padding: the first window begins that much later. A convolution cannot begin
    inside its input, so that rows stay where there is no padding.
    """
    window = Window.of(layer) if layer.node.op_type == "Conv" and layer.live.any() else None
    if window is None:
        return layer
    W, begins, ends = layer.W, list(window.begins), list(window.ends)
    for i, d in enumerate(window.dilations):
        live = np.flatnonzero(np.moveaxis(layer.live, 1 + i, 0).reshape(W.shape[2 + i], -1).any(1))
        first, last = min(int(live[0]), begins[i] // d), min(W.shape[2 + i] - 1 - int(live[-1]), ends[i] // d)
        begins[i], ends[i] = begins[i] - first * d, ends[i] - last * d
        W = W[(slice(None),) * (2 + i) + (slice(first, W.shape[2 + i] - last),)]
    if W.shape == layer.W.shape:
        return layer
    return narrowed(layer, W, kernel_shape=W.shape[2:], pads=[*begins, *ends], auto_pad=None)


def trimmed(layer: Layer) -> Rewrite | None:
    """The same node with a smaller kernel; None where there is none."""
    small = narrow(layer)
    return None if small is layer else Draft(small).ended(layer.node.input[0], small.W)
