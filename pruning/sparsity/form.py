"""The one shape in which every pattern sees a layer's weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.analysis import Layer

Canonical = tuple[int, int, int, int]  # groups, filters of a group, inputs of a group, positions of the kernel


@dataclass(frozen=True)
class Form:
    """Kind, shape and groups of a layer; shape is that of its weight, (in, out/g, *kernel) for conv_transpose."""

    kind: str
    shape: tuple[int, ...]
    groups: int = 1

    @classmethod
    def of(cls, layer: Layer) -> Form:
        """The form of an analysed layer."""
        return cls(layer.kind, layer.shape, layer.groups)

    @property
    def canonical(self) -> Canonical:
        """(g, out/g, in/g, k)."""
        g, first, second, k = self._split
        return (g, second, first, k) if self._is_transposed else (g, first, second, k)

    def matrices(self, V: Tensor) -> Tensor:
        """V, as the weight is shaped, as (g, out/g, in/g, k). It may share V's memory."""
        M = V.reshape(self._split)
        return M.transpose(1, 2) if self._is_transposed else M

    def restored(self, M: Tensor) -> Tensor:
        """The inverse of matrices. It may share M's memory."""
        return (M.transpose(1, 2) if self._is_transposed else M).reshape(self.shape)

    @property
    def _is_transposed(self) -> bool:
        return self.kind == "conv_transpose"

    @property
    def _split(self) -> Canonical:
        return self.groups, self.shape[0] // self.groups, self.shape[1], prod(self.shape[2:])
