"""The closed form behind every cardinality constraint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pruning.errors import Diverged

if TYPE_CHECKING:
    from torch import Tensor


def largest(scores: Tensor, kept: int) -> Tensor:
    """Mask of the `kept` largest scores; among equals the first are kept.

    Args: scores: (n,). Returns: (n,) boolean, min(kept, n) of them True.
    Raises: Diverged: a score is NaN.
    """
    if scores.isnan().any():
        raise Diverged
    if kept >= scores.numel():
        return scores == scores
    if kept == 0:
        return scores != scores
    threshold = scores.kthvalue(scores.numel() - kept + 1).values
    mask = scores > threshold
    ties = (scores == threshold).nonzero().flatten()
    mask[ties[: kept - int(mask.sum())]] = True
    return mask
