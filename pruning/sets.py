"""Where the weights of each layer must end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pruning.budgets import Allowance
from pruning.plan import Pattern
from pruning.sparsity.form import Form


@dataclass(frozen=True)
class Sets:
    """The pattern of each layer that has one, and what they may keep together."""

    forms: Mapping[str, Form]
    patterns: Mapping[str, Pattern]
    allowance: Allowance

    @classmethod
    def of(cls, allowance: Allowance) -> Sets:
        """The sets of a settled plan."""
        return cls(allowance.forms, allowance.patterns, allowance)

    @torch.no_grad()
    def project(self, V: Mapping[str, Tensor], importance: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The nearest point to V, once the allocation has said how much each layer keeps; shapes are the weights'.

        Args: importance: positive; nearest is then by ||importance (Z - V)||, None: by ||Z - V||.
        Raises: Diverged: V holds a NaN.
        """
        scaled = V if importance is None else {k: V[k] * importance[k] for k in V}
        M = {k: self.forms[k].matrices(scaled[k]) for k in self.patterns}
        kept = self.allowance.allocate({k: pattern.scores(M[k]) for k, pattern in self.patterns.items()})
        Z = {k: self.forms[k].restored(pattern.project(M[k], kept[k])) for k, pattern in self.patterns.items()}
        if importance is not None:
            Z = {k: V[k].masked_fill(z == 0, 0.0) for k, z in Z.items()}
        return {k: Z[k] if k in Z else V[k].clone() for k in V}
