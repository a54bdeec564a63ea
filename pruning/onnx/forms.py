"""Other graphs for a layer's function, by name; those that fit their neighbours better stand first."""

from collections.abc import Callable, Mapping

from pruning.onnx.columns import Layer, Rewrite
from pruning.onnx.gather import inputs, shifted, windows
from pruning.onnx.product import product
from pruning.onnx.trim import trimmed

FORMS: Mapping[str, Callable[[Layer], Rewrite | None]] = {
    "trimmed": trimmed,
    "gathered": shifted,
    "gathered by windows": windows,
    "gathered inputs": inputs,
    "product": product,
}
