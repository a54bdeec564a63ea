"""Patterns whose groups extend along whole axes of (g, out/g, in/g, k): the closed form that they share."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, ClassVar

from pruning.frozen import Asked
from pruning.sparsity.form import Canonical, Form
from pruning.sparsity.largest import largest

if TYPE_CHECKING:
    from torch import Tensor


class Groups(Asked):
    """At most `kept` groups that are not zero; a group extends along AXES."""

    AXES: ClassVar[tuple[int, ...]]

    def project(self, V: Tensor, kept: int) -> Tensor:
        """Argmin ||Z - V||_F over {Z: at most `kept` groups are not zero}; ties keep the first.

        Args: V: (g, out/g, in/g, k). Returns: the shape of V.
        Raises: Diverged: V holds a NaN.
        """
        return group_projection(V, kept, self.AXES)

    def scores(self, V: Tensor) -> Tensor:
        """L2 norm of each group, (count,)."""
        return norms(V, self.AXES)

    def count(self, shape: Canonical) -> int:
        """Number of groups."""
        return prod(n for i, n in enumerate(shape) if i not in self.AXES)

    def size(self, shape: Canonical) -> int:
        """Weights of a group."""
        return prod(shape[i] for i in self.AXES)

    def most(self, shape: Canonical, kept: int) -> int:
        """Weights that `kept` groups hold at most."""
        return kept * self.size(shape)

    @staticmethod
    def objection(form: Form) -> str:
        """Why a layer of this form cannot take it; empty where it can."""
        return ""


def group_projection(V: Tensor, kept: int, axes: Sequence[int]) -> Tensor:
    """Argmin ||Z - V||_F over {Z: at most `kept` groups are not zero}; ties keep the first.

    Args: axes: those along which a group extends. Returns: the shape and memory layout of V, never its memory.
    Raises: Diverged: V holds a NaN.
    Source: as Boyd et al. 2011, section 9.1, on the norms of the groups.
    """
    mask = largest(norms(V, axes), kept).reshape([1 if i in axes else n for i, n in enumerate(V.shape)])
    return masked(V, mask)


def masked(V: Tensor, mask: Tensor) -> Tensor:
    """A copy of V, zero where the mask is False, with V's memory layout: where() would take the mask's."""
    return V.clone().masked_fill_(~mask, 0.0)


def norms(V: Tensor, axes: Sequence[int]) -> Tensor:
    """L2 norm of each group, (groups,)."""
    if not axes:
        return V.abs().flatten()
    # in double: neither the order of the sum nor the memory layout is left to decide between equal groups
    return V.double().square().sum(tuple(axes)).sqrt().to(V.dtype).flatten()
