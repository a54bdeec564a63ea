"""Whole filters and neurons go: rows of the weight matrix."""

from typing import ClassVar, Literal

from pruning.sparsity.form import Form
from pruning.sparsity.groups import Groups


class Filter(Groups):
    """At most `kept` filters that are not zero.

    Source: Zhang et al. 2018, "StructADMM".
    """

    kind: Literal["filter"] = "filter"
    AXES: ClassVar[tuple[int, ...]] = (2, 3)

    @staticmethod
    def objection(form: Form) -> str:
        """Why a layer of this form cannot take it; empty where it can."""
        return "its rows are gates of units, which would stay" if form.kind == "recurrent" else ""
