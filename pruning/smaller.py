"""What is delivered of a graph with zeros in it: what is dead leaves, and what stays takes its fastest form."""

from onnx import ModelProto

from pruning.measure import Feeds
from pruning.onnx.constants import move_constants
from pruning.onnx.fastest import Fastest, fastest
from pruning.onnx.shrink import shrink, variants

MULTIPLES = (1, 8, 16)  # ONNX Runtime's convolutions work on so many channels at once, by the machine


def smaller(masked: ModelProto, x: Feeds, quantized: bool, rewrite: bool = True, seconds: float = 10.0) -> Fastest:
    """The same outputs but for rounding, from a smaller graph.

    Args: x: a batch to time layers with; quantized: weights are on levels, and no two of them may be added up;
    rewrite: whether layers may be written anew, as ONNX Runtime is fastest.
    """
    moved = move_constants(masked, padded=not quantized)
    if not rewrite:
        return Fastest.unchanged(shrink(moved))
    return fastest(variants(moved, MULTIPLES), x, seconds)
