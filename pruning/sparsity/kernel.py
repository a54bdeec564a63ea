"""Whole kernels go: what one filter reads of one input."""

from typing import ClassVar, Literal

from pruning.sparsity.form import Form
from pruning.sparsity.groups import Groups


class Kernel(Groups):
    """At most `kept` kernels that are not zero."""

    kind: Literal["kernel"] = "kernel"
    AXES: ClassVar[tuple[int, ...]] = (3,)

    @staticmethod
    def objection(form: Form) -> str:
        """Why a layer of this form cannot take it; empty where it can."""
        return "its kernels have one weight" if form.canonical[3] == 1 else ""
