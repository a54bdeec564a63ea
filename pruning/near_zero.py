"""How far each layer is on its way to zeros, while training still moves its weights."""

from collections.abc import Mapping

from torch import Tensor

SMALL = 0.1  # of the root mean square of a layer: of a dense layer as training leaves it about 8 % are smaller


def near_zero(W: Mapping[str, Tensor]) -> dict[str, float]:
    """Share of each layer's weights, 0 to 1, that are zero or small beside the others of the layer."""
    return {k: round(float((w.abs() <= SMALL * w.square().mean().sqrt()).float().mean()), 4) for k, w in W.items()}
