import math
from fractions import Fraction

import pytest
import torch

from pruning.allocations import lamp
from pruning.analysis import Layer
from pruning.budgets import Allowance, settle
from pruning.errors import Diverged
from pruning.sets import Sets
from pruning.sparsity.form import Form
from tests.unit.pruning.shapes import (
    ALLOCATIONS,
    BRANCHES,
    CHAIN,
    DEPTHWISE,
    LAYERS,
    MIXED,
    allocated,
    layer,
    left,
    plan,
    scores,
    weights,
)


def test_global_is_one_top_k_over_all_layers():
    W = weights(LAYERS)
    threshold = torch.cat([w.flatten() for w in W.values()]).abs().sort(descending=True).values[99]
    assert allocated(plan(), LAYERS, W) == {k: int((v.abs() >= threshold).sum()) for k, v in W.items()}


def test_every_layer_keeps_one_and_the_total_stays():
    W = weights(LAYERS)
    kept = allocated(plan(), LAYERS, W | {"conv1": W["conv1"] * 1e-6})
    assert kept["conv1"] == 1 and sum(kept.values()) == 100


def test_ties_keep_the_first_layer():
    W = {x.name: torch.ones(x.shape) for x in LAYERS}
    assert allocated(plan(), LAYERS, W) == {"conv1": 20, "conv2": 79, "fc": 1}


def test_ties_keep_the_first_layer_where_costs_differ_too():
    layers = [layer("a", 10, 10), layer("b", 10, 10), layer("c", 10, 10, positions=4)]
    W = {x.name: torch.ones(x.shape) for x in layers}
    assert allocated(plan({"multiply_adds_share": 0.25}), layers, W) == {"a": 100, "b": 46, "c": 1}


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_allocation_does_not_change_the_scores(allocation):
    allowance = settle(plan(allocation=allocation), LAYERS)
    given = scores(allowance, weights(LAYERS))
    before = {k: v.clone() for k, v in given.items()}
    allowance.allocate(given)
    assert all(torch.equal(before[k], given[k]) for k in given)


@pytest.mark.parametrize("allocation", ["global", "lamp"])
@pytest.mark.parametrize("budget", [{"pruning_rate": 3}, {"multiply_adds_share": 0.3}], ids=str)
def test_nan_is_refused(allocation, budget):
    W = weights(CHAIN)
    W["conv2"][0, 0, 0, 0] = float("nan")
    with pytest.raises(Diverged):
        allocated(plan(budget, allocation=allocation), CHAIN, W)


@pytest.mark.parametrize("rate", [1, 1.0001, 3, 7.77, 71.2, 300])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_the_rate_is_met_exactly(rate, allocation):
    kept = allocated(plan({"pruning_rate": rate}, allocation=allocation), LAYERS)
    assert 1000 / sum(kept.values()) >= rate
    assert 1000 / (sum(kept.values()) + 1) < rate


def test_sparsity_counts_exactly():
    assert sum(allocated(plan({"sparsity": 0.9}), LAYERS).values()) == 100


def test_a_search_is_settled_at_rate_1():
    assert allocated(plan({"bytes": 1000}), LAYERS) == {"conv1": 20, "conv2": 80, "fc": 900}
    assert settle(plan({"max_accuracy_drop": 0.01}), LAYERS).limit == 1000


def walked(allowance: Allowance, worth: dict[str, list[float]], layers: list[Layer]) -> dict[str, int]:
    """Best of each layer, then the next best by worth / cost, until one does not fit."""
    unit = allowance.costs.unit
    price = {
        x.name: allowance.patterns[x.name].size(Form.of(x).canonical) * getattr(x, unit) / x.weights
        for x in layers
        if x.name in allowance.patterns
    }
    kept = dict.fromkeys(worth, 1)
    rest = [
        (value / price[k], -place, k)
        for place, (k, values) in enumerate(worth.items())
        for value in sorted(values, reverse=True)[1:]
    ]
    for _, _, k in sorted(rest, reverse=True):
        more = kept | {k: kept[k] + 1}
        if cost_by_hand(allowance, more, layers) > allowance.limit:
            break
        kept = more
    return kept


def cost_by_hand(allowance: Allowance, kept: dict[str, int], layers: list[Layer]) -> int:
    """Filters of a chain: the first so many stay; other groups: as many as there are, of their size."""
    patterns, unit = allowance.patterns, allowance.costs.unit
    if all(p.kind == "filter" for p in patterns.values()):
        alive = {x.name: torch.arange(x.shape[0]) < kept.get(x.name, x.shape[0]) for x in layers}
        return left(layers, alive, unit)
    each = {
        x.name: patterns[x.name].size(Form.of(x).canonical) * kept[x.name] if x.name in patterns else x.weights
        for x in layers
    }
    return sum(each[x.name] * (getattr(x, unit) // x.weights) for x in layers)


BUDGETS = [{"pruning_rate": 1.3}, {"pruning_rate": 3}, {"sparsity": 0.6}, {"multiply_adds_share": 0.4}]
PLANS = [
    {"pattern": {"kind": "unstructured"}},
    {"pattern": {"kind": "channel"}},
    {"pattern": {"kind": "column"}},
    {"pattern": {"kind": "kernel"}},
    {"pattern": {"kind": "filter"}},
    {"pattern": {"kind": "column"}, "layers": MIXED},
]


def lamp_by_hand(values: list[float]) -> list[float]:
    ordered = sorted((v * v for v in values), reverse=True)
    return [w / sum(ordered[: i + 1]) for i, w in enumerate(ordered)]


@pytest.mark.parametrize("more", PLANS, ids=lambda m: m["pattern"]["kind"] + " mixed" * ("layers" in m))
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("allocation", ["global", "lamp"])
def test_the_most_valuable_groups_stay(allocation, budget, more):
    allowance = settle(plan(budget, allocation=allocation, **more), CHAIN)
    given = scores(allowance, weights(CHAIN))
    values = {k: v.double().tolist() for k, v in given.items()}
    worth = {k: lamp_by_hand(v) if allocation == "lamp" else [x * x for x in v] for k, v in values.items()}
    assert allowance.allocate(given) == walked(allowance, worth, CHAIN)


def test_lamp_of_nothing_is_nothing():
    assert lamp(torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("more", PLANS, ids=lambda m: m["pattern"]["kind"] + " mixed" * ("layers" in m))
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_uniform_gives_each_layer_the_same_share(budget, more):
    """Rounded down, and then one more where it fits."""
    allowance = settle(plan(budget, allocation="uniform", **more), CHAIN)
    counts = {part.name: part.groups for part in allowance.costs.shared}
    shares = sorted({Fraction(j, n) for n in counts.values() for j in range(n + 1)})
    floors = ({k: max(1, math.floor(s * n)) for k, n in counts.items()} for s in shares)
    *_, floor = (kept for kept in floors if cost_by_hand(allowance, kept, CHAIN) <= allowance.limit)
    kept = allowance.allocate({})
    assert all(floor[k] <= kept[k] <= floor[k] + 1 for k in counts)
    assert cost_by_hand(allowance, kept, CHAIN) <= allowance.limit
    for k in (k for k, n in counts.items() if kept[k] == floor[k] < n):
        assert cost_by_hand(allowance, kept | {k: kept[k] + 1}, CHAIN) > allowance.limit


def test_uniform_in_numbers():
    assert allocated(plan(allocation="uniform"), LAYERS) == {"conv1": 2, "conv2": 8, "fc": 90}
    assert allocated(plan({"pruning_rate": 300}, allocation="uniform"), LAYERS) == {"conv1": 1, "conv2": 1, "fc": 1}


@pytest.mark.parametrize("kept", [11, 15, 101, 3000, 10099, 10100])
@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_no_layer_is_emptied_or_overfull(kept, allocation):
    layers = [layer("big", 100, 100), *(layer(f"small{i}", 2, 5) for i in range(10))]
    counts = allocated(plan({"pruning_rate": 10_100 / kept}, allocation=allocation), layers)
    assert min(counts.values()) >= 1 and sum(counts.values()) == kept
    assert all(counts[x.name] <= x.weights for x in layers)


@pytest.mark.parametrize("rate", [1, 2, 10, 50])
def test_erk_shares_are_as_its_formula_says(rate):
    layers = [layer("conv1", 16, 3, 5, 5), layer("conv2", 32, 16, 3, 3), layer("fc1", 100, 512), layer("fc2", 10, 100)]
    kept = allocated(plan({"pruning_rate": rate}, allocation="erk"), layers)
    raw = {x.name: sum(x.shape) for x in layers}  # times the weights
    capped = [x.name for x in layers if kept[x.name] == x.weights]
    ranges = [((kept[k] - 1) / n, (kept[k] + 1) / n) for k, n in raw.items() if k not in capped]
    scale = max((low for low, _ in ranges), default=math.inf)
    assert scale <= min((high for _, high in ranges), default=math.inf)  # one scale for all, up to rounding
    assert all(scale * raw[k] >= kept[k] - 1 for k in capped)
    assert sum(kept.values()) == int(sum(x.weights for x in layers) / rate)


PATTERNS_OF_ALL = [{"kind": k} for k in ("unstructured", "filter", "channel", "column", "block")]


@pytest.mark.parametrize("pattern", PATTERNS_OF_ALL, ids=lambda p: p["kind"])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("budget", [{"pruning_rate": 2}, {"sparsity": 0.7}, {"multiply_adds_share": 0.35}], ids=str)
@pytest.mark.parametrize("layers", [CHAIN, BRANCHES, DEPTHWISE], ids=["chain", "branches", "depthwise"])
def test_the_budget_is_never_missed(pattern, allocation, budget, layers):
    allowance = settle(plan(budget, pattern=pattern, allocation=allocation), layers)
    W = weights(layers)
    kept = allowance.allocate(scores(allowance, W))
    assert allowance.costs.of(kept) <= allowance.limit < allowance.costs.total
    assert min(kept.values()) >= 1
    if pattern["kind"] != "filter":
        Z = Sets.of(allowance).project(W)
        unit = allowance.costs.unit
        assert sum(int((Z[x.name] != 0).sum()) * getattr(x, unit) / x.weights for x in layers) <= allowance.limit


def test_all_blocks_are_no_more_than_all_weights():
    ragged = [layer("conv", 6, 5, 3, 3), layer("fc", 7, 9)]
    allowance = settle(plan({"pruning_rate": 1}, pattern={"kind": "block"}), ragged)
    assert allowance.costs.of(allowance.allocate(scores(allowance, weights(ragged)))) == allowance.costs.total
