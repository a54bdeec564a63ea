"""Few of each short row of inputs stay: what sparse tensor cores multiply, 2 of 4 at present."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pruning.errors import Diverged
from pruning.frozen import Asked
from pruning.sparsity.form import Canonical, Form
from pruning.sparsity.groups import masked

if TYPE_CHECKING:
    from torch import Tensor

PLACE = 3  # axis of the m inputs in (g, out/g, pieces, m, k)


class NM(Asked):
    """At most n non-zeros in each m consecutive inputs, at the same output and position; a last piece may be shorter.

    How much stays is settled by n and m: the layer is one group, and `kept` is not looked at.
    """

    kind: Literal["n_m"] = "n_m"
    n: int = Field(default=2, ge=1, le=65_536, description="Weights that stay in each piece; less than m.")
    m: int = Field(default=4, ge=2, le=65_536, description="Consecutive inputs of a piece.")

    @model_validator(mode="after")
    def _some_go(self) -> NM:
        if self.n >= self.m:
            raise ValueError(f"n must be less than m; {self.n} of {self.m} prunes nothing")
        return self

    def project(self, V: Tensor, kept: int = 1) -> Tensor:
        """Argmin ||Z - V||_F over {Z: at most n non-zeros in each piece of m}; ties keep the first.

        Args: V: (g, out/g, in/g, k). Returns: the shape of V.
        Raises: Diverged: V holds a NaN.
        Source: Zhou et al. 2021, "Learning N:M fine-grained structured sparse neural networks from scratch".
        """
        if V.isnan().any():
            raise Diverged
        sizes = self._folded(V.abs())
        places = sizes.argsort(dim=PLACE, descending=True, stable=True).narrow(
            PLACE, 0, min(self.n, sizes.shape[PLACE])
        )
        mask = (sizes != sizes).scatter(PLACE, places, True).flatten(2, 3)[:, :, : V.shape[2]]
        return masked(V, mask)

    def scores(self, V: Tensor) -> Tensor:
        """Norm of the projection, (1,)."""
        return self.project(V).double().square().sum().sqrt().to(V.dtype).reshape(1)

    def count(self, shape: Canonical) -> int:
        """One: the whole layer."""
        return 1

    def size(self, shape: Canonical) -> int:
        """Weights that stay."""
        g, out, inputs, k = shape
        return g * out * k * (inputs // self.m * self.n + min(self.n, inputs % self.m))

    def most(self, shape: Canonical, kept: int) -> int:
        """Weights that stay."""
        return self.size(shape)

    @staticmethod
    def objection(form: Form) -> str:
        """Why a layer of this form cannot take it; empty where it can."""
        return "its filters read one input each" if form.canonical[2] == 1 else ""

    def _folded(self, V: Tensor) -> Tensor:
        """(g, out/g, pieces, m, k), the last piece filled up with zeros."""
        g, out, inputs, k = V.shape
        m = min(self.m, inputs)
        pieces = -(-inputs // m)
        padded = V.new_zeros(g, out, pieces * m, k)
        padded[:, :, :inputs] = V
        return padded.reshape(g, out, pieces, m, k)
