"""The training loop's own laws: means of squared gradients, running means of weights, a teacher's share, precision."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pruning.batches import Batches
from pruning.data.cache import Source, read
from pruning.fit import check_fit
from pruning.objective import Objective
from pruning.onnx.analyse import analyse
from pruning.onnx.vet import vet
from pruning.settings import Distill, Train
from pruning.stages.mean import Mean
from pruning.train import Trainer, mask_gradients

CPU = torch.device("cpu")


@pytest.fixture
def trainer(tiny, tiny_data) -> Trainer:
    analysis, network = analyse(vet(tiny))
    dataset = read(Source(tiny_data)).bound(analysis.inputs)
    objective = Objective.of(check_fit(analysis, dataset.summary("npz")), network, Distill(weight=0.5))
    return Trainer(network, Batches.of(dataset.train, 16, 0, CPU), objective, Train(), lambda _: None)


def gradients(trainer: Trainer, step: int) -> dict[str, torch.Tensor]:
    trainer.network.module.zero_grad()
    trainer.objective.loss(trainer.network, *trainer.batches.at(step)).backward()
    return {k: w.grad.clone() for k, w in trainer.network.W().items() if w.grad is not None}


def test_squares_begin_as_the_mean_over_some_batches_and_change_nothing(trainer):
    trainer.network.module.eval()
    state = {k: v.clone() for k, v in trainer.network.module.state_dict().items()}
    count = min(20, trainer.batches.steps)
    each = [gradients(trainer, step) for step in range(count)]
    with torch.no_grad():
        found = trainer.watched()
    for k, square in found.items():
        expected = torch.stack([g[k].square() for g in each]).mean(0)
        torch.testing.assert_close(square, expected, rtol=1e-4, atol=1e-9)
    assert all(torch.equal(v, state[k]) for k, v in trainer.network.module.state_dict().items())
    assert all(p.grad is None for p in trainer.network.module.parameters()) and trainer.step == 0


def test_squares_follow_the_loss_and_not_the_penalty(trainer):
    trainer.watched()
    before = {k: v.clone() for k, v in trainer.squares.items()}
    trainer.network.module.train()
    trainer.network.module.requires_grad_(True)
    expected = gradients(trainer, 0)

    def large() -> None:
        for w in trainer.network.W().values():
            w.grad.add_(1e3)

    trainer.train(1, lambda _: 0.0, large)
    for k, square in trainer.squares.items():
        torch.testing.assert_close(square, before[k].lerp(expected[k].square(), 0.001), rtol=1e-3, atol=1e-9)


def test_a_mean_is_that_of_the_steps_and_keeps_zeros(trainer):
    mean = Mean(trainer.network, 0.5, None)
    weight = next(iter(trainer.network.W().values()))
    with torch.no_grad():
        weight.zero_()[0] = 1.0
        first = weight.clone()
        mean = Mean(trainer.network, 0.5, None)
        for value in (2.0, 3.0, 4.0):
            weight[0] = value
            mean.update()
    expected, now = 1.0, weight.clone()
    for count, value in enumerate((2.0, 3.0, 4.0), 1):
        expected += (1 - min(0.5, count / (count + 10))) * (value - expected)
    with mean.swapped():
        assert torch.allclose(weight[0], torch.full_like(weight[0], expected))
        assert not weight[1:].any() and not torch.equal(weight, first)
    assert torch.equal(weight, now)


def test_the_teachers_share_is_a_share_of_the_loss(trainer):
    x, y = trainer.batches.at(0)
    with torch.no_grad():
        for p in trainer.network.module.parameters():
            p.add_(0.1)
        losses = {
            share: replace(trainer.objective, distill=Distill(weight=share)).loss(trainer.network, x, y)
            for share in (0.0, 0.5, 1.0)
        }
        faded = replace(trainer.objective, distill=Distill(weight=1.0)).taught_less(0.5).loss(trainer.network, x, y)
    assert losses[0.5].item() == pytest.approx((losses[0.0] + losses[1.0]).item() / 2, rel=1e-4)
    assert faded.item() == pytest.approx(losses[0.5].item(), rel=1e-5) and losses[0.0] != losses[1.0]


def test_mixed_precision_is_near_and_judged_in_single(trainer):
    x, y = trainer.batches.at(0)
    mixed = replace(trainer.objective, mixed=True)
    near, exact = mixed.loss(trainer.network, x, y), trainer.objective.loss(trainer.network, x, y)
    assert near.dtype == torch.float32 and near.item() == pytest.approx(exact.item(), rel=0.05)
    assert near.item() != exact.item()
    assert mixed.measure(trainer.network, trainer.batches) == trainer.objective.measure(
        trainer.network, trainer.batches
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_frozen_zeros_stay_zero_whatever_the_optimizer(trainer, optimizer):
    trainer.settings = Train.model_validate({"optimizer": optimizer, "weight_decay": 0.01})
    trainer.begin()
    W = trainer.network.W()
    masks = {k: torch.rand(w.shape, generator=torch.Generator().manual_seed(0)) < 0.5 for k, w in W.items()}
    with torch.no_grad():
        for k, w in W.items():
            w.mul_(masks[k])
    before = {k: w.detach().clone() for k, w in W.items()}
    trainer.train(20, lambda _: 0.01, lambda: mask_gradients((W[k], masks[k]) for k in W))
    assert all(not w[~masks[k]].any() for k, w in W.items())
    assert all(not torch.equal(w, before[k]) for k, w in W.items())


def test_what_stands_in_the_place_of_a_parameter_is_trained_at_its_own_rate(trainer):
    name, weight = next((n, p) for n, p in trainer.network.module.named_parameters() if p.dim() > 1)
    first, second = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    trainer.begin({name: (first, second)}, scale=10.0)

    def on_gradient() -> None:
        first.grad, second.grad = torch.ones(3), torch.ones(3)

    before = weight.detach().clone()
    trainer.train(1, lambda _: 0.01, on_gradient)
    assert torch.equal(weight, before)
    assert torch.allclose(first, torch.full((3,), -0.01)) and torch.allclose(second, torch.full((3,), -0.1))
