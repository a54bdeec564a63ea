import pytest
import torch
from pydantic import ValidationError

from pruning.analysis import Layer
from pruning.budgets import settle
from pruning.errors import InvalidPlan
from pruning.plan import Plan


def layer(name: str, weights: int) -> Layer:
    return Layer(
        name=name,
        weight=f"{name}.weight",
        kind="dense",
        shape=(weights, 1),
        weights=weights,
        zeros_share=0,
        patterns=("unstructured",),
        multiply_adds=weights,
    )


LAYERS = [layer("conv1", 20), layer("conv2", 80), layer("fc", 900)]
V = {x.name: torch.randn(x.weights, generator=torch.Generator().manual_seed(i)) for i, x in enumerate(LAYERS)}


def plan(budget=None, **more) -> Plan:
    return Plan.model_validate({"budget": budget or {"pruning_rate": 10}, **more})


def test_global_is_one_top_k_over_all_layers():
    kept = settle(plan(), LAYERS).allocate(V)
    threshold = torch.cat(list(V.values())).abs().sort(descending=True).values[99]
    assert kept == {k: int((v.abs() >= threshold).sum()) for k, v in V.items()}


def test_every_layer_keeps_one_and_the_total_stays():
    faint = V | {"conv1": V["conv1"] * 1e-6}
    kept = settle(plan(), LAYERS).allocate(faint)
    assert kept["conv1"] == 1 and sum(kept.values()) == 100


def test_allocation_does_not_change_the_values():
    before = {k: v.clone() for k, v in V.items()}
    settle(plan(), LAYERS).allocate(V)
    assert all(torch.equal(before[k], V[k]) for k in V)


def test_uniform_gives_each_layer_its_share():
    assert settle(plan(allocation="uniform"), LAYERS).allocate(V) == {"conv1": 2, "conv2": 8, "fc": 90}
    kept = settle(plan({"pruning_rate": 300}, allocation="uniform"), LAYERS).allocate(V)
    assert min(kept.values()) == 1 and sum(kept.values()) == 3


def test_rules_are_counted_in_the_budget():
    rules = [{"match": "conv*", "exclude": True}, {"match": "conv2.weight", "sparsity": 0.5}]
    kept = settle(plan(layers=rules), LAYERS).allocate(V)
    assert kept == {"conv1": 20, "conv2": 40, "fc": 40}


@pytest.mark.parametrize("rate", [1, 1.0001, 3, 7.77, 71.2, 300])
def test_the_rate_is_never_missed(rate):
    kept = settle(plan({"pruning_rate": rate}), LAYERS).allocate(V)
    assert 1000 / sum(kept.values()) >= rate
    assert 1000 / (sum(kept.values()) + 1) < rate


def test_sparsity_counts_exactly():
    assert sum(settle(plan({"sparsity": 0.9}), LAYERS).allocate(V).values()) == 100


def test_a_rule_that_matches_nothing_is_named():
    with pytest.raises(InvalidPlan, match="'conv9' matches no layer; the layers are conv1, conv2, fc") as error:
        settle(plan(layers=[{"match": "conv9", "exclude": True}]), LAYERS)
    assert error.value.pointer == "/layers/0/match"


def test_an_impossible_budget_names_a_possible_one():
    with pytest.raises(InvalidPlan, match=r"at most 1\.108"):
        settle(plan(layers=[{"match": "fc", "exclude": True}]), LAYERS)
    possible = plan({"pruning_rate": 1.108}, layers=[{"match": "fc", "exclude": True}])
    assert settle(possible, LAYERS).shared_kept == 2


def test_at_the_named_rate_each_layer_keeps_one():
    with pytest.raises(InvalidPlan):
        settle(plan({"pruning_rate": 334}), LAYERS)
    assert settle(plan({"pruning_rate": 333.3}), LAYERS).allocate(V) == {"conv1": 1, "conv2": 1, "fc": 1}


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({}, "exactly one"),
        ({"pruning_rate": 2, "sparsity": 0.5}, "exactly one"),
        ({"pruning_rate": 0.5}, "greater than or equal to 1"),
        ({"pruning_rate": float("nan")}, "finite"),
        ({"sparsity": 1}, "less than 1"),
        ({"rate": 3}, "not permitted"),
    ],
)
def test_wrong_budgets_are_refused(budget, says):
    with pytest.raises(ValidationError, match=says):
        Plan.model_validate({"budget": budget})


def test_a_budget_is_a_whole_plan():
    assert Plan.model_validate({"budget": {"pruning_rate": 10}}).admm.rounds > 0


@pytest.mark.parametrize("kept", [11, 15, 101, 3000, 10099, 10100])
def test_uniform_never_empties_a_layer(kept):
    layers = [layer("big", 10_000), *(layer(f"small{i}", 10) for i in range(10))]
    counts = settle(plan({"pruning_rate": 10_100 / kept}, allocation="uniform"), layers).allocate({})
    assert min(counts.values()) >= 1 and sum(counts.values()) == kept
    assert all(counts[x.name] <= x.weights for x in layers)
