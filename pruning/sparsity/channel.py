"""Whole inputs go: all weights that read one channel."""

from typing import ClassVar, Literal

from pruning.sparsity.groups import Groups


class Channel(Groups):
    """At most `kept` inputs that are read.

    Source: Zhang et al. 2018, "StructADMM".
    """

    kind: Literal["channel"] = "channel"
    AXES: ClassVar[tuple[int, ...]] = (1, 3)
