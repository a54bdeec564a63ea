"""Any weight may go: a bound on the number of non-zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pruning.frozen import Frozen
from pruning.sparsity.largest import largest

if TYPE_CHECKING:
    from torch import Tensor


class Unstructured(Frozen):
    """At most `kept` non-zeros, anywhere in the layer."""

    kind: Literal["unstructured"] = "unstructured"

    def project(self, V: Tensor, kept: int) -> Tensor:
        """Argmin ||Z - V||_F over {Z: card(Z) <= kept}; ties keep the first.

        Args: V: any shape. Returns: the shape of V.
        Raises: Diverged: V holds a NaN.
        Source: Boyd et al. 2011, section 9.1.
        """
        mask = largest(V.abs().flatten(), kept).reshape(V.shape)
        return V.where(mask, V.new_zeros(()))
