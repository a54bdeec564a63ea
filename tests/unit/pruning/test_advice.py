"""Each rule speaks where its numbers say so, and is silent else."""

import json
import re
from typing import Any

import pytest

from pruning import advice
from pruning.advice import advise
from pruning.plan import Plan
from pruning.report import Report
from tests.unit.pruning.test_report import OLD

SURE = {"dense": (0.98, 0.99), "pruned": (0.98, 0.99), "drop": (-0.002, 0.003), "source": "x"}
CELLS = {"both_right": 9850, "only_dense": 20, "only_pruned": 15, "both_wrong": 115}


def report(plan: dict[str, Any] | None = None, **parts: Any) -> Report:
    """One with which nobody need do anything but try a higher rate; parts: changes of its parts."""
    base: dict[str, Any] = json.loads(json.dumps(OLD))
    base["accuracy"] |= {"dense": 0.987, "pruned": 0.9865, "drop": 0.0005, "examples": 10_000}
    base["accuracy"] |= {"interval": SURE, "changed": CELLS}
    base["layers"][0]["stored"] = 10
    base["manifest"]["plan"] = plan or {"budget": {"pruning_rate": 10}}
    for name, change in parts.items():
        base[name] = base.get(name, {}) | change if isinstance(change, dict) else change
    return Report.model_validate(base)


def drop(low: float, high: float, value: float, **more: Any) -> dict[str, Any]:
    return {"drop": value, "interval": SURE | {"drop": (low, high)}} | more


LOST = drop(0.02, 0.04, 0.03)
PACKED = {"bytes": OLD["compression"]["bytes"] | {"packed": 321}}


def plans_in(text: str) -> list[dict[str, Any]]:
    """All pieces of plans that a sentence holds."""
    found, decoder, at = [], json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        plan, end = decoder.raw_decode(text[at:])
        found.append(plan)
        at += end
    return found


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({"budget": {"pruning_rate": 10}}, {"pruning_rate": 15}),
        ({"budget": {"sparsity": 0.9}}, {"pruning_rate": 15}),
        ({"budget": {"multiply_adds_share": 0.6}}, {"multiply_adds_share": 0.4}),
        ({"budget": {"bytes": 3000}}, {"bytes": 2000}),
    ],
)
def test_what_is_within_chance_may_be_followed_by_a_higher_rate(given, rate):
    text = advice.lost_nothing(report(given))
    assert "within chance" in text and plans_in(text) == [{"budget": rate}]


def test_no_higher_rate_where_it_was_searched_or_lost_or_is_not_known():
    assert not advice.lost_nothing(report({"budget": {"max_accuracy_drop": 0.01}}))
    assert not advice.lost_nothing(report(accuracy=LOST)) and not advice.lost_nothing(report(goal_met=False))
    assert not advice.lost_nothing(report(accuracy={"interval": None}))
    assert not advice.lost_nothing(report(accuracy=drop(-0.03, 0.03, 0.0)))  # nobody knows
    assert "nothing was lost" in advice.lost_nothing(report(accuracy=drop(-0.004, -0.001, -0.002)))


def test_a_large_drop_asks_for_less_or_longer_or_a_teacher():
    text = advice.lost_much(report(accuracy=LOST))
    assert "3.0 points were lost, which is more than chance" in text
    lower, longer, taught = plans_in(text)
    assert lower == {"budget": {"pruning_rate": 6.7}} and longer == {"retrain": {"epochs": 10}}
    assert taught == {"distill": {"weight": 0.5}}
    assert not advice.lost_much(report()) and not advice.lost_much(report(accuracy=drop(-0.01, 0.07, 0.03)))
    has_teacher = report({"budget": {"pruning_rate": 10}, "distill": {"weight": 0.5}}, accuracy=LOST)
    assert "teacher" not in advice.lost_much(has_teacher)


def test_a_large_drop_at_a_high_rate_asks_for_the_method_for_it():
    text = advice.lost_much(report(accuracy=LOST, compression={"pruning_rate": 100.0}))
    assert {"method": "gradual", "importance": "fisher"} in plans_in(text)


@pytest.mark.parametrize("metric", ["mse", "f1"])
def test_a_drop_without_interval_is_not_called_more_than_chance(metric):
    lost = {"metric": metric, "dense": 0.2, "pruned": 0.3, "drop": 0.1, "interval": None, "changed": None}
    text = advice.lost_much(report(accuracy=lost))
    assert text and "chance" not in text


def test_zeros_that_give_no_speed_ask_for_a_pattern_that_does():
    slow = {"speedup": 1.01}
    many = [OLD["layers"][0] | {"stored": 100}]
    text = advice.no_speed(report(latency=slow, layers=many))
    assert "90 % of the weights" in text and [p["pattern"]["kind"] for p in plans_in(text)] == ["filter", "column"]
    assert not advice.no_speed(report(layers=many)) and not advice.no_speed(report(latency=slow))
    for kind in ("filter", "column", "n_m"):
        plan = {"pattern": {"kind": kind}, "budget": {"pruning_rate": 10}}
        assert not advice.no_speed(report(plan, latency=slow, layers=many))


def test_few_examples_ask_for_more_and_say_how_many():
    few = drop(-0.007, 0.026, 0.0083, examples=360, changed=CELLS | {"only_dense": 4, "only_pruned": 1})
    text = advice.few_examples(report(accuracy=few))
    assert "between 2.6 points lost and 0.7 won" in text and "takes about 775" in text  # 5/360 (1.96 / 0.0083)^2
    assert not advice.few_examples(report())
    assert "takes" not in advice.few_examples(report(accuracy=drop(-0.03, 0.01, -0.01)))
    assert not advice.few_examples(report(accuracy=drop(0.01, 0.04, 0.02)))  # that something was lost is sure


def test_a_small_file_that_lost_much_is_told_to_use_fewer_bits():
    plan = {"budget": {"bytes": 4000}}
    tries = plans_in(advice.lost_much(report(plan, accuracy=LOST)))
    assert tries[0] == {"quantize": {"bits": 4}} and {"budget": {"bytes": 6000}} in tries
    missed = plans_in(advice.lost_much(report(plan, accuracy=LOST, goal_met=False)))
    assert not any("budget" in one for one in missed)  # a larger file is further from the goal


def test_admm_that_ended_far_away_asks_for_more_rounds():
    far = {"rounds": 10, "relative": 0.5}
    assert plans_in(advice.ended_far(report(convergence=far))) == [{"admm": {"rounds": 20}}]
    quantized = report({"budget": {"pruning_rate": 10}, "quantize": {"bits": 4}}, convergence=far)
    assert plans_in(advice.ended_far(quantized)) == [{"quantize": {"admm": {"rounds": 20}}}]
    assert not advice.ended_far(report(convergence={"relative": 0.1})) and not advice.ended_far(report())
    assert not advice.ended_far(report(convergence=far, accuracy={"drop": -0.01}))


def test_uneven_timings_ask_for_an_idle_machine():
    assert "90 % of their median" in advice.uneven(report(latency={"spread": 0.9}))
    assert not advice.uneven(report())
    rows = [OLD["latency"], *2 * [OLD["latency"] | {"spread": 0.7}]]
    assert advice.uneven(report(latencies=rows)) and not advice.uneven(report(latencies=rows[:2]))


def test_each_file_has_its_use():
    text = advice.which_file(report(compression=PACKED, loading={"dense_ms": 1, "pruned_ms": 2, "packed_ms": 8}))
    assert "10.0 times fewer bytes" in text and "2 ms instead of 8 ms" in text and not advice.which_file(report())


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"max_accuracy_drop": 0.01}, {"max_accuracy_drop": 0.005}),
        ({"bytes": 900}, {"bytes": 804}),  # gzipped it has 987
        ({"pruning_rate": 20}, {"pruning_rate": 15}),  # 10 were reached
    ],
)
def test_a_missed_goal_says_what_to_change(given, wanted):
    text = advice.goal_missed(report({"budget": given}, goal_met=False))
    assert plans_in(text) == [{"budget": wanted}]
    assert not advice.goal_missed(report({"budget": given}))


def test_at_most_five_and_every_plan_is_one():
    said = advise(
        report(
            goal_met=False,
            accuracy=drop(0.01, 0.06, 0.03, examples=300),
            latency={"spread": 0.9, "speedup": 1.0},
            layers=[OLD["layers"][0] | {"stored": 100}],
            convergence={"rounds": 10, "relative": 0.5},
            compression=PACKED,
        )
    )
    assert len(said) == 5 and "goal was missed" in said[0]
    for text in said:
        assert not re.search(r"\.$|None|nan", text)
        for plan in plans_in(text):
            Plan.model_validate({"budget": {"pruning_rate": 10}} | plan)


def test_an_old_report_is_advised_too():
    assert all(isinstance(text, str) for text in advise(Report.model_validate(OLD)))
