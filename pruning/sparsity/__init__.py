"""Sparsity patterns: one set and its exact projection a file. Importable without torch."""

from pruning.sparsity.block import Block
from pruning.sparsity.channel import Channel
from pruning.sparsity.column import Column
from pruning.sparsity.filter import Filter
from pruning.sparsity.form import Form
from pruning.sparsity.kernel import Kernel
from pruning.sparsity.n_m import NM
from pruning.sparsity.unstructured import Unstructured

PATTERNS = {
    "unstructured": Unstructured,
    "filter": Filter,
    "channel": Channel,
    "column": Column,
    "kernel": Kernel,
    "block": Block,
    "n_m": NM,
}


def suiting(form: Form) -> tuple[str, ...]:
    """Patterns that a layer of this form can take."""
    return tuple(name for name, pattern in PATTERNS.items() if not pattern.objection(form))
