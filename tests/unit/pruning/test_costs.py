from itertools import product

import pytest
import torch

from pruning.budgets import settle
from tests.unit.pruning.shapes import BRANCHES, CHAIN, DEPTHWISE, left, plan


@pytest.mark.parametrize("unit", ["weights", "multiply_adds"])
@pytest.mark.parametrize("layers", [CHAIN, BRANCHES], ids=["chain", "branches"])
def test_the_cost_of_filters_is_that_of_the_shrunken_tensors(layers, unit):
    budget = {"pruning_rate": 1} if unit == "weights" else {"multiply_adds_share": 1}
    allowance = settle(plan(budget, pattern={"kind": "filter"}), layers)
    names, generator = list(allowance.patterns), torch.Generator().manual_seed(0)
    assert names == [x.name for x in layers if x.readers]
    for numbers in product(*(range(1, x.shape[0] + 1) for x in layers if x.readers)):
        kept = dict(zip(names, numbers, strict=True))
        places = {x.name: torch.randperm(x.shape[0], generator=generator) for x in layers}
        alive = {k: place < kept.get(k, len(place)) for k, place in places.items()}
        assert allowance.costs.of(kept) == left(layers, alive, unit)


@pytest.mark.parametrize("seed", range(20))
def test_in_grouped_layers_no_cost_is_left_out(seed):
    """A channel of a depthwise layer is there if both filters are; how many are is not known, so the most count."""
    allowance = settle(plan({"pruning_rate": 1}, pattern={"kind": "filter"}), DEPTHWISE)
    generator = torch.Generator().manual_seed(seed)
    stays = {k: torch.rand(n, generator=generator) < 0.6 for k, n in (("conv", 6), ("dw", 6), ("pw", 5))}
    stays = {k: v.index_fill(0, torch.tensor([0]), True) for k, v in stays.items()}
    both, pw = stays["conv"] & stays["dw"], int(stays["pw"].sum())
    delivered = int(stays["conv"].sum()) * 27 + int(both.sum()) * 9 + pw * int(both.sum()) + 2 * pw
    planned = allowance.costs.of({k: int(v.sum()) for k, v in stays.items()})
    assert planned >= delivered
    nested = min(int(stays["conv"].sum()), int(stays["dw"].sum()))
    assert planned == int(stays["conv"].sum()) * 27 + nested * 9 + pw * nested + 2 * pw


def test_dense_and_pruned_readers_lose_what_feeds_them():
    rules = [{"match": "conv2", "exclude": True}, {"match": "fc", "pattern": {"kind": "unstructured"}}]
    allowance = settle(plan({"pruning_rate": 1}, pattern={"kind": "filter"}, layers=rules), CHAIN)
    assert allowance.costs.of_each({"conv1": 1, "fc": 50}) == {"conv1": 27, "conv2": 6 * 9, "fc": 50}
    everywhere = [{"match": "fc", "pattern": {"kind": "unstructured"}}]
    allowance = settle(plan({"pruning_rate": 1}, pattern={"kind": "filter"}, layers=everywhere), CHAIN)
    assert allowance.costs.of_each({"conv1": 4, "conv2": 2, "fc": 50})["fc"] == 40  # 5 of 8 inputs
    assert allowance.costs.of_each({"conv1": 4, "conv2": 2, "fc": 30})["fc"] == 30
