"""The groups of each pattern, written out cell by cell: what the projections are held against."""

from itertools import chain, combinations, product

import torch
from torch import Tensor

Cell = tuple[int, ...]
Shape = tuple[int, ...]


def groups_of(pattern, shape: Shape) -> list[list[Cell]]:
    """Cells (g, out, in, position) of each group, in group order."""
    g, out, inputs, k = (range(n) for n in shape)
    if pattern.kind == "unstructured":
        return [[cell] for cell in product(g, out, inputs, k)]
    if pattern.kind == "filter":
        return [[(a, o, i, p) for i in inputs for p in k] for a in g for o in out]
    if pattern.kind == "channel":
        return [[(a, o, i, p) for o in out for p in k] for a in g for i in inputs]
    if pattern.kind == "column":
        return [[(a, o, i, p) for o in out] for a in g for i in inputs for p in k]
    if pattern.kind == "kernel":
        return [[(a, o, i, p) for p in k] for a in g for o in out for i in inputs]
    assert pattern.kind == "block"
    columns = list(product(inputs, k))
    return [
        [(a, o, *column) for o in out[r : r + pattern.rows] for column in columns[c : c + pattern.columns]]
        for a in g
        for r in range(0, len(out), pattern.rows)
        for c in range(0, len(columns), pattern.columns)
    ]


def pieces_of(pattern, shape: Shape) -> list[list[Cell]]:
    """Cells of each piece of an n_m pattern."""
    g, out, inputs, k = (range(n) for n in shape)
    starts = range(0, len(inputs), pattern.m)
    return [[(a, o, i, p) for i in inputs[s : s + pattern.m]] for a, o, s, p in product(g, out, starts, k)]


def supports(pattern, shape: Shape, kept: int) -> list[list[Cell]]:
    """Cells that may be non-zero together: every maximal choice."""
    if pattern.kind == "n_m":
        choices = [list(combinations(piece, min(pattern.n, len(piece)))) for piece in pieces_of(pattern, shape)]
        return [list(chain(*picked)) for picked in product(*choices)]
    groups = groups_of(pattern, shape)
    return [list(chain(*picked)) for picked in combinations(groups, min(kept, len(groups)))]


def nearest(pattern, V: Tensor, kept: int) -> float:
    """Smallest distance of V to a point of the set, over all supports."""
    squares = {cell: float(V[cell]) ** 2 for cell in product(*(range(n) for n in V.shape))}
    total = sum(squares.values())
    best = max(sum(squares[cell] for cell in support) for support in supports(pattern, tuple(V.shape), kept))
    return max(total - best, 0.0) ** 0.5


def seeded(shape: Shape, seed: int = 0) -> Tensor:
    """Random normal."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
