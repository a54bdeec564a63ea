"""What operators do to channels, as labels see it: a layer, channel by channel, and where any zero gives zero."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Product:
    """A layer: a stored weight that reads channels and makes new ones.

    inputs: (in,); outputs: (out,); rests: (out,), whether zero inputs give zero: the bias is zero.
    by_input: the weight is (in, out / groups, ...) and not (out, in / groups, ...).
    """

    weight: str
    inputs: Ids
    outputs: Ids
    rests: Mask
    groups: int
    by_input: bool

    def matrix(self, W: np.ndarray) -> Mask:
        """(groups, out / groups, in / groups): where the weight is not zero."""
        rows = (W != 0).reshape(self.groups, W.shape[0] // self.groups, W.shape[1], -1).any(-1)
        return rows.swapaxes(1, 2) if self.by_input else rows

    def spread(self, mask: Mask, W: np.ndarray) -> Mask:
        """A mask of (groups, out / groups, in / groups) in the weight's shape."""
        rows = mask.swapaxes(1, 2) if self.by_input else mask
        flat = rows.reshape(*W.shape[:2], *[1] * (W.ndim - 2))
        return np.broadcast_to(flat, W.shape)


@dataclass(frozen=True)
class Each:
    """Channel by channel: zero where all inputs are, or where none passes, if zero rests zero.

    passes, rests: (n,); may_rest: whether it would with zeros for its own stored vectors.
    """

    inputs: tuple[Ids, ...]
    outputs: Ids
    passes: Mask
    rests: Mask
    may_rest: bool = True


@dataclass(frozen=True)
class Gate:
    """Channel by channel: zero where any input is."""

    inputs: tuple[Ids, ...]
    outputs: Ids
