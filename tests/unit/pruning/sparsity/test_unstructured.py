from itertools import combinations

import pytest
import torch

from pruning.errors import Diverged
from pruning.sparsity import PATTERNS
from pruning.sparsity.largest import largest


def nearest(V: torch.Tensor, kept: int) -> float:
    """Smallest distance over all supports: brute force."""
    flat = V.flatten()
    best = float("inf")
    for support in combinations(range(flat.numel()), kept):
        Z = torch.zeros_like(flat)
        Z[list(support)] = flat[list(support)]
        best = min(best, float((flat - Z).norm()))
    return best


@pytest.fixture(params=PATTERNS.values(), ids=list(PATTERNS))
def pattern(request):
    return request.param()


@pytest.mark.parametrize("kept", range(9))
@pytest.mark.parametrize("seed", range(5))
def test_projection_is_the_nearest_point(pattern, seed, kept):
    V = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
    Z = pattern.project(V, kept)
    assert int((Z != 0).sum()) <= kept
    assert float((V - Z).norm()) == pytest.approx(nearest(V, kept), abs=1e-6)


def test_projection_is_idempotent_and_keeps_or_zeroes(pattern):
    V = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    Z = pattern.project(V, 17)
    assert torch.equal(pattern.project(Z, 17), Z)
    assert bool(((Z == V) | (Z == 0)).all())
    assert Z.data_ptr() != V.data_ptr()


def test_ties_keep_the_first(pattern):
    V = torch.tensor([[1.0, -1.0, 1.0], [1.0, 2.0, -1.0]])
    assert pattern.project(V, 3).tolist() == [[1.0, -1.0, 0.0], [0.0, 2.0, 0.0]]


def test_memory_layout_does_not_matter(pattern):
    V = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    last = V.contiguous(memory_format=torch.channels_last)
    assert torch.equal(pattern.project(V, 50), pattern.project(last, 50))


def test_nan_is_refused(pattern):
    with pytest.raises(Diverged):
        pattern.project(torch.tensor([1.0, float("nan")]), 1)


@pytest.mark.parametrize("kept", [0, 1, 5, 6, 9])
def test_largest_keeps_exactly(kept):
    mask = largest(torch.tensor([3.0, 3.0, 3.0, 0.0, 0.0, float("inf")]), kept)
    assert int(mask.sum()) == min(kept, 6)
