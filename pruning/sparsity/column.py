"""One input at one position of the kernel goes, in every filter: a column of the weight matrix."""

from typing import ClassVar, Literal

from pruning.sparsity.groups import Groups


class Column(Groups):
    """At most `kept` columns that are not zero: the shape-wise sparsity of the paper.

    Source: Zhang et al. 2018, "StructADMM".
    """

    kind: Literal["column"] = "column"
    AXES: ClassVar[tuple[int, ...]] = (1,)
