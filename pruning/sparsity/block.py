"""Blocks of neighbouring weights go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pruning.frozen import Asked
from pruning.sparsity.form import Canonical, Form
from pruning.sparsity.groups import group_projection, norms

if TYPE_CHECKING:
    from torch import Tensor

AXES = (2, 4)  # of the folded matrix


class Block(Asked):
    """At most `kept` blocks that are not zero, of the matrix (out/g, in/g * k); those at its end may be smaller."""

    kind: Literal["block"] = "block"
    rows: int = Field(default=4, ge=1, le=65_536, description="Neighbouring filters or neurons in a block.")
    columns: int = Field(
        default=4, ge=1, le=65_536, description="Neighbouring columns in a block: kernel positions, then inputs."
    )

    def project(self, V: Tensor, kept: int) -> Tensor:
        """Argmin ||Z - V||_F over {Z: at most `kept` blocks are not zero}; ties keep the first.

        Args: V: (g, out/g, in/g, k). Returns: the shape of V.
        Raises: Diverged: V holds a NaN.
        Source: Gray et al. 2017, "GPU kernels for block-sparse weights".
        """
        Z = group_projection(self._folded(V), kept, AXES).flatten(3, 4).flatten(1, 2)
        return Z[:, : V.shape[1], : V.shape[2] * V.shape[3]].reshape(V.shape)

    def scores(self, V: Tensor) -> Tensor:
        """L2 norm of each block, (count,)."""
        return norms(self._folded(V), AXES)

    def count(self, shape: Canonical) -> int:
        """Number of blocks."""
        g, R, _, C, _ = self._grid(shape)
        return g * R * C

    def size(self, shape: Canonical) -> int:
        """Weights of a whole block."""
        _, _, rows, _, columns = self._grid(shape)
        return rows * columns

    def most(self, shape: Canonical, kept: int) -> int:
        """Weights that `kept` blocks hold at most: whole ones are taken first."""
        g, R, rows, C, columns = self._grid(shape)
        last_row, last_column = shape[1] - (R - 1) * rows, shape[2] * shape[3] - (C - 1) * columns
        kinds = [
            (rows * columns, (R - 1) * (C - 1)),
            (last_row * columns, C - 1),
            (rows * last_column, R - 1),
            (last_row * last_column, 1),
        ]
        weights = 0
        for each, times in sorted(kinds, reverse=True):
            taken = min(kept, g * times)
            weights, kept = weights + taken * each, kept - taken
        return weights

    @staticmethod
    def objection(form: Form) -> str:
        """Why a layer of this form cannot take it; empty where it can."""
        return ""

    def _grid(self, shape: Canonical) -> tuple[int, int, int, int, int]:
        """(g, rows of blocks, rows, columns of blocks, columns)."""
        g, out, inputs, k = shape
        rows, columns = min(self.rows, out), min(self.columns, inputs * k)
        return g, -(-out // rows), rows, -(-(inputs * k) // columns), columns

    def _folded(self, V: Tensor) -> Tensor:
        """V as `_grid`, blocks at the end filled up with zeros."""
        g, out, inputs, k = V.shape
        g, R, rows, C, columns = self._grid((g, out, inputs, k))
        padded = V.new_zeros(g, R * rows, C * columns)
        padded[:, :out, : inputs * k] = V.reshape(g, out, inputs * k)
        return padded.reshape(g, R, rows, C, columns)
