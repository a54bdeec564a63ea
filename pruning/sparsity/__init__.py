"""Sparsity patterns: one set and its exact projection a file. Importable without torch."""

from pruning.sparsity.unstructured import Unstructured

PATTERNS = {"unstructured": Unstructured}
