"""Any weight may go: a bound on the number of non-zeros."""

from typing import ClassVar, Literal

from pruning.sparsity.groups import Groups


class Unstructured(Groups):
    """At most `kept` non-zeros, anywhere in the layer.

    Source: Zhang et al. 2018, "A systematic DNN weight pruning framework using ADMM"; Boyd et al. 2011, section 9.1.
    """

    kind: Literal["unstructured"] = "unstructured"
    AXES: ClassVar[tuple[int, ...]] = ()
