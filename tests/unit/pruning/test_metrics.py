"""Metrics against scalar references; counts of parts add up to those of the whole."""

import numpy as np
import pytest

from pruning.fit import Goal
from pruning.metrics import METRICS

GOALS = {
    "classes": Goal("y", "classes", "cross_entropy", "top1", 4),
    "binary": Goal("y", "binary", "binary_cross_entropy", "top1", 2),
    "positions": Goal("y", "positions", "cross_entropy", "top1", 4, -1),
    "labels": Goal("y", "labels", "binary_cross_entropy", "f1"),
    "numbers": Goal("y", "numbers", "mse", "mse"),
    "scores": Goal("y", "scores", "distill", "agreement"),
    "values": Goal("y", "values", "distill", "r2"),
}


def example(kind, n=40):
    rng = np.random.default_rng(1)
    output = rng.standard_normal({"binary": (n, 1), "positions": (n, 5, 4)}.get(kind, (n, 4)))
    y = {
        "classes": lambda: rng.integers(0, 4, n),
        "binary": lambda: rng.integers(0, 2, n),
        "positions": lambda: rng.integers(0, 4, (n, 5)),
        "labels": lambda: rng.integers(0, 2, (n, 4)).astype(np.float32),
    }.get(kind, lambda: output + 0.5 * rng.standard_normal((n, 4)))()
    return output, y


def reference(kind, output, y):
    if kind == "binary":
        return np.mean([(o > 0) == t for o, t in zip(output[:, 0], y, strict=True)])
    if kind == "scores":
        return np.mean([a.argmax() == b.argmax() for a, b in zip(output, y, strict=True)])
    if kind in ("classes", "positions"):
        return (output.argmax(-1) == y).mean()
    if kind == "labels":
        right = sum(o > 0 and t == 1 for o, t in zip(output.flat, y.flat, strict=True))
        wrong = sum((o > 0) != (t == 1) for o, t in zip(output.flat, y.flat, strict=True))
        return 2 * right / (2 * right + wrong)
    error = ((output - y) ** 2).sum()
    return error / y.size if kind == "numbers" else 1 - error / ((y - y.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize("kind", GOALS)
def test_the_number_is_that_of_a_scalar_reference(kind):
    goal, (output, y) = GOALS[kind], example(kind)
    metric = METRICS[goal.metric]
    whole = metric.count(output, y, goal, "logits")
    assert metric.value(whole) == pytest.approx(reference(kind, output, y))
    parts = [metric.count(output[i : i + 7], y[i : i + 7], goal, "logits") for i in range(0, 40, 7)]
    assert np.allclose(np.sum(parts, axis=0), whole)


@pytest.mark.parametrize("kind", ["binary", "labels"])
def test_half_is_where_the_ending_puts_it(kind):
    goal, (output, y) = GOALS[kind], example(kind)
    count = METRICS[goal.metric].count
    p = 1 / (1 + np.exp(-output))
    expected = count(output, y, goal, "logits")
    assert np.array_equal(count(p, y, goal, "sigmoid"), expected)
    assert np.array_equal(count(np.log(p), y, goal, "log_probabilities"), expected)


def test_a_blind_guess_is_known():
    goal, (_, y) = GOALS["numbers"], example("numbers")
    blind = np.broadcast_to(y.mean(axis=0), y.shape)
    counts = METRICS["mse"].count(blind, y, goal, "logits")
    assert METRICS["mse"].value(counts) == pytest.approx(METRICS["mse"].blind(counts, goal))
    goal = GOALS["labels"]
    y = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0]], np.float32)
    counts = METRICS["f1"].count(np.array([[1, -1, -1]] * 3), y, goal, "logits")
    assert METRICS["f1"].value(counts) == METRICS["f1"].blind(counts, goal) == pytest.approx(2 * 3 / (3 + 5))
    assert METRICS["top1"].blind(counts, GOALS["classes"]) == pytest.approx(0.35)
    assert METRICS["top1"].blind(counts, GOALS["binary"]) == pytest.approx(0.6)


def test_where_nothing_varies():
    goal, y = GOALS["values"], np.ones((5, 2))
    assert METRICS["r2"].value(METRICS["r2"].count(y, y, goal, "logits")) == 1
    assert METRICS["r2"].value(METRICS["r2"].count(y + 1, y, goal, "logits")) == 0
