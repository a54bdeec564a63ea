import pytest
import torch

from pruning.errors import Diverged
from pruning.sparsity.largest import largest


@pytest.mark.parametrize("kept", [0, 1, 5, 6, 9])
def test_largest_keeps_exactly(kept):
    mask = largest(torch.tensor([3.0, 3.0, 3.0, 0.0, 0.0, float("inf")]), kept)
    assert int(mask.sum()) == min(kept, 6)


def test_nan_is_refused():
    with pytest.raises(Diverged):
        largest(torch.tensor([1.0, float("nan")]), 2)
