"""One operator family a file. CONVERTERS names every operator that is taken."""

from collections.abc import Callable
from typing import Any

from pruning.onnx.build import Builder
from pruning.onnx.node import Node
from pruning.onnx.ops import (
    activations,
    arithmetic,
    constants,
    control,
    dense,
    indexing,
    layout,
    logic,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resize,
    sequences,
)

Converter = Callable[[Builder, Node], Any]

FAMILIES = (
    activations,
    arithmetic,
    constants,
    control,
    dense,
    indexing,
    layout,
    logic,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resize,
    sequences,
)

CONVERTERS: dict[str, Converter] = {op: convert for family in FAMILIES for op, convert in family.CONVERTERS.items()}
