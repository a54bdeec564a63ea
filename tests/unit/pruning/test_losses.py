"""Losses against closed forms; a Softmax or Sigmoid at the end of the graph changes nothing."""

import math

import pytest
import torch

from pruning.fit import Goal, Kind, Loss
from pruning.losses import LOSSES, distance
from pruning.onnx.network import Gives

Z = torch.tensor([[1.0, 2.0, -1.0], [0.0, -2.0, 3.0]])
Y = torch.tensor([1, 0])
TEMPERATURE = 4.0


def goal(kind: Kind = "classes", loss: Loss = "cross_entropy", axis: int = 1) -> Goal:
    return Goal("y", kind, loss, "top1", 3, axis)


@pytest.mark.parametrize(
    ("output", "ending"),
    [(Z, "logits"), (Z.softmax(1), "probabilities"), (Z.log_softmax(1), "log_probabilities")],
)
def test_cross_entropy(output, ending):
    expected = sum(math.log(sum(math.exp(v) for v in row)) - row[y] for row, y in zip(Z.tolist(), Y, strict=True)) / 2
    assert LOSSES["cross_entropy"](output, Y, ending, goal()).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_positions_on_either_axis(rng):
    output = torch.from_numpy(rng.standard_normal((2, 3, 4, 5)))
    y = torch.from_numpy(rng.integers(0, 3, (2, 4, 5)))
    picked = output.log_softmax(1).gather(1, y[:, None])
    for axis, z in ((1, output), (-1, output.movedim(1, -1))):
        got = LOSSES["cross_entropy"](z, y, "logits", goal("positions", axis=axis))
        assert got.item() == pytest.approx(-picked.mean().item())


@pytest.mark.parametrize(("output", "ending"), [(Z, "logits"), (Z.sigmoid(), "sigmoid")])
def test_binary_cross_entropy(output, ending):
    y = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    p = 1 / (1 + torch.exp(-Z))
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    got = LOSSES["binary_cross_entropy"](output, y, ending, goal("labels", "binary_cross_entropy"))
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)
    column = LOSSES["binary_cross_entropy"](output[:, :1], y[:, 0].long(), ending, goal("binary"))
    expected = -(y[:, 0] * p[:, 0].log() + (1 - y[:, 0]) * (1 - p[:, 0]).log()).mean()
    assert column.item() == pytest.approx(expected.item(), rel=1e-5)


def test_mean_squared_error():
    got = LOSSES["mse"](Z[:, :1], torch.tensor([0.0, 2.0]), "logits", goal("numbers", "mse"))
    assert got.item() == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize(
    "give", [lambda z: z, lambda z: z.softmax(1), lambda z: z.log_softmax(1)], ids=["logits", "softmax", "log"]
)
def test_distillation_is_the_divergence_at_a_temperature(give, rng):
    other = torch.from_numpy(rng.standard_normal((2, 3))).float()
    p, q = (Z / TEMPERATURE).softmax(1), (other / TEMPERATURE).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean() * TEMPERATURE**2
    ending = "logits" if give(Z) is Z else "probabilities" if (give(Z) > 0).all() else "log_probabilities"
    got = distance({"y": give(other)}, {"y": give(Z)}, {"y": ending}, goal("scores", "distill"), TEMPERATURE)
    assert got.item() == pytest.approx(expected.item(), rel=1e-4)


def test_distillation_of_numbers_is_relative_and_adds_over_outputs():
    taught = torch.tensor([[0.0], [2.0]])
    far = distance({"y": taught + 1}, {"y": taught}, {"y": "logits"}, goal("values", "distill"), TEMPERATURE)
    assert far.item() == pytest.approx(1, rel=1e-5)
    scaled = distance(
        {"y": taught * 50 + 50}, {"y": taught * 50}, {"y": "logits"}, goal("values", "distill"), TEMPERATURE
    )
    assert scaled.item() == pytest.approx(1, rel=1e-5)
    endings: dict[str, Gives] = {"y": "logits", "z": "sigmoid"}
    both = distance(
        {"y": taught + 1, "z": taught + 1}, {"y": taught, "z": taught}, endings, goal("values", "distill"), TEMPERATURE
    )
    assert both.item() == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("kind", ["scores", "values"])
def test_the_dense_model_is_at_no_distance_from_itself(kind):
    loss = "distill" if kind == "scores" else "mse"
    assert abs(distance({"y": Z}, {"y": Z}, {"y": "logits"}, goal(kind, loss), TEMPERATURE).item()) < 1e-6


WAYS = {"logits": lambda z: z, "probabilities": lambda z: z.softmax(1), "log_probabilities": lambda z: z.log_softmax(1)}


@pytest.mark.parametrize("learner", WAYS)
@pytest.mark.parametrize("teacher", WAYS)
def test_a_teacher_may_end_otherwise(learner, teacher):
    aim, other = goal("classes", "distill"), Z.flip(0) * 0.7
    expected = distance({"y": Z}, {"y": other}, {"y": "logits"}, aim, TEMPERATURE)
    output, taught = WAYS[learner](Z), WAYS[teacher](other)
    got = distance({"y": output}, {"y": taught}, {"y": learner}, aim, TEMPERATURE, {"y": teacher})
    assert got.item() == pytest.approx(expected.item(), rel=1e-4)
