import pytest
import torch
from pydantic import ValidationError

from pruning.analysis import Layer
from pruning.budgets import settle
from pruning.errors import InvalidPlan
from pruning.plan import Plan
from pruning.sets import Sets
from tests.unit.pruning.shapes import CHAIN, LAYERS, allocated, layer, plan, scores, weights


def test_rules_are_counted_in_the_budget():
    rules = [{"match": "conv*", "exclude": True}, {"match": "conv2.weight", "sparsity": 0.5}]
    assert allocated(plan(layers=rules), LAYERS) == {"conv2": 40, "fc": 40}


def test_a_rule_may_give_pattern_sparsity_and_rho():
    rules = [
        {"match": "*", "rho": 0.5},
        {"match": "conv2", "pattern": {"kind": "filter"}, "sparsity": 0.5, "rho": 0.1},
        {"match": "fc", "sparsity": 0.75},
    ]
    allowance = settle(plan({"pruning_rate": 2}, layers=rules), CHAIN)
    assert {k: p.kind for k, p in allowance.patterns.items()} == {
        "conv1": "unstructured",
        "conv2": "filter",
        "fc": "unstructured",
    }
    assert allowance.rho == {"conv1": 0.5, "conv2": 0.1}
    kept = allowance.allocate(scores(allowance, weights(CHAIN)))
    assert kept["conv2"] == 3 and kept["fc"] == 30


def test_what_cannot_take_the_plans_pattern_stays_dense():
    allowance = settle(plan({"pruning_rate": 2}, pattern={"kind": "kernel"}), CHAIN)
    assert set(allowance.patterns) == {"conv1", "conv2"}
    kept = allowance.allocate(scores(allowance, weights(CHAIN)))
    assert allowance.costs.of(kept) == 9 * sum(kept.values()) + 120


def test_two_of_four_is_what_it_is():
    W = weights(CHAIN)
    for rate in (1, 1.5, 1.7):
        allowance = settle(plan({"pruning_rate": rate}, pattern={"kind": "n_m"}), CHAIN)
        kept = allowance.allocate(scores(allowance, W))
        Z = Sets.of(allowance).project(W)
        assert allowance.costs.of(kept) == 2 * 36 + 108 + 60 == sum(int((z != 0).sum()) for z in Z.values())


def test_n_m_beside_a_pattern_that_shares():
    rules = [{"match": "conv2", "pattern": {"kind": "n_m", "n": 1, "m": 4}}]
    allowance = settle(plan({"pruning_rate": 4}, layers=rules), CHAIN)
    kept = allowance.allocate(scores(allowance, weights(CHAIN)))
    assert kept["conv2"] == 1 and kept["conv1"] + kept["fc"] == int(444 / 4) - 54


def test_projection_keeps_dense_layers_and_shares_no_memory():
    W = weights(CHAIN)
    rules = [{"match": "fc", "exclude": True}]
    Z = Sets.of(settle(plan({"pruning_rate": 2}, layers=rules), CHAIN)).project(W)
    assert torch.equal(Z["fc"], W["fc"]) and set(Z) == set(W)
    assert all(Z[k].shape == W[k].shape and Z[k].data_ptr() != W[k].data_ptr() for k in W)
    assert sum(int((z != 0).sum()) for z in Z.values()) == 222


def refused(plan: Plan, layers: list[Layer]) -> tuple[str, str]:
    with pytest.raises(InvalidPlan) as error:
        settle(plan, layers)
    return str(error.value), error.value.pointer


def test_a_rule_that_matches_nothing_is_named():
    said = refused(plan(layers=[{"match": "conv9", "exclude": True}]), LAYERS)
    assert said == ("'conv9' matches no layer; the layers are conv1, conv2, fc", "/layers/0/match")


def test_an_impossible_budget_names_a_possible_one():
    rules = [{"match": "fc", "exclude": True}]
    said, pointer = refused(plan(layers=rules), LAYERS)
    assert pointer == "/budget" and "900 are held by rules in `layers`" in said
    assert said.endswith("ask for a pruning rate of at most 1.108")
    assert sum(allocated(plan({"pruning_rate": 1.108}, layers=rules), LAYERS).values()) == 2


def test_at_the_named_rate_each_layer_keeps_one():
    assert "at most 333.333" in refused(plan({"pruning_rate": 334}), LAYERS)[0]
    assert allocated(plan({"pruning_rate": 333.333}), LAYERS) == {"conv1": 1, "conv2": 1, "fc": 1}


@pytest.mark.parametrize("total", range(10, 400, 7))
def test_the_named_rate_is_always_possible(total):
    layers = [layer("a", total, 1), *(layer(f"b{i}", 3, 1) for i in range(6))]
    for budget, name in (({"pruning_rate": 1e6}, "pruning_rate"), ({"sparsity": 0.99999}, "sparsity")):
        named = refused(plan(budget), layers)[0].split()[-1]
        assert settle(plan({name: float(named.replace(",", ""))}), layers).limit >= 7
    named = refused(plan({"multiply_adds_share": 1e-6}), layers)[0].split()[-1]
    settled = settle(plan({"multiply_adds_share": float(named)}), layers)
    assert settled.costs.of(settled.costs.least) <= settled.limit


def test_what_n_m_gives_is_said():
    said, pointer = refused(plan({"pruning_rate": 10}, pattern={"kind": "n_m"}), CHAIN)
    assert pointer == "/budget" and "240 are what 2 of 4 leaves" in said and said.endswith("at most 1.85")


def test_a_pattern_that_no_layer_can_take_is_refused():
    said, pointer = refused(plan({"pruning_rate": 2}, pattern={"kind": "kernel"}), LAYERS)
    assert pointer == "/pattern"
    assert said == (
        "no layer can take the pattern kernel ('conv1': its kernels have one weight); "
        "they can take unstructured, channel, column, block"
    )
    assert "added to those of other layers" in refused(plan({"pruning_rate": 2}, pattern={"kind": "filter"}), LAYERS)[0]


@pytest.mark.parametrize(
    ("rule", "field", "says"),
    [
        (
            {"pattern": {"kind": "kernel"}},
            "pattern",
            "'fc' cannot take the pattern kernel: its kernels have one weight",
        ),
        ({"pattern": {"kind": "filter"}}, "pattern", "are the model's output; it can take unstructured, channel"),
        ({"sparsity": 0.5}, "pattern", "cannot take the plan's pattern kernel"),
    ],
)
def test_a_rule_that_a_layer_cannot_follow_is_refused(rule, field, says):
    rules = [{"match": "conv1", "exclude": True}, {"match": "fc", **rule}]
    said, pointer = refused(plan({"pruning_rate": 2}, pattern={"kind": "kernel"}, layers=rules), CHAIN)
    assert says in said and pointer == f"/layers/1/{field}"


def test_the_filters_of_a_recurrent_layer_are_gates():
    layers = [layer("lstm.W", 8, 4, kind="recurrent", fc=1), layer("fc", 3, 2)]
    rules = [{"match": "lstm.W", "pattern": {"kind": "filter"}}]
    assert "gates of units" in refused(plan({"pruning_rate": 2}, layers=rules), layers)[0]


def test_another_sparsity_than_that_of_n_m_is_refused():
    rules = [{"match": "conv2", "sparsity": 0.9}]
    said, pointer = refused(plan({"pruning_rate": 1.5}, pattern={"kind": "n_m"}, layers=rules), CHAIN)
    assert pointer == "/layers/0/sparsity" and "2 of 4 is a sparsity of 0.5, not 0.9" in said


def test_a_rule_for_all_layers_is_for_those_that_can():
    rules = [{"match": "*", "sparsity": 0.5}]
    allowance = settle(plan({"pruning_rate": 1.4}, pattern={"kind": "kernel"}, layers=rules), CHAIN)
    assert allowance.allocate({}) == {"conv1": 6, "conv2": 12}


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
