"""ADMM on problems whose answer is known."""

import pytest
import torch

from pruning import admm
from pruning.errors import Diverged
from pruning.sparsity.unstructured import Unstructured


def project(V):
    return {k: Unstructured().project(v, 2) for k, v in V.items()}


TARGET = {"a": torch.tensor([3.0, -2.0, 0.5, 0.1]), "b": torch.tensor([[1.0, 4.0], [-0.2, 0.3]])}


def exact_w_step(s: admm.State) -> dict[str, torch.Tensor]:
    """argmin 1/2 ||W - T||^2 + rho/2 ||W - Z + U||^2, in closed form."""
    return {k: (TARGET[k] + s.rho * (s.Z[k] - s.U[k])) / (1 + s.rho) for k in TARGET}


def test_finds_the_nearest_sparse_point():
    s, residuals = admm.step(admm.init(TARGET, project, 0.5), TARGET, project)
    for _ in range(200):
        s, residuals = admm.step(s, exact_w_step(s), project)
        s = admm.grow(s, 1.05)
    assert residuals.primal < 1e-3 and residuals.dual < 1e-2
    for k, nearest in project(TARGET).items():
        assert torch.allclose(exact_w_step(s)[k], nearest, atol=1e-3)


def test_starts_in_the_set_with_memory_of_its_own():
    s = admm.init(TARGET, project, 1.0)
    assert all(torch.equal(s.Z[k], project(TARGET)[k]) for k in TARGET)
    assert all(not u.any() for u in s.U.values())
    assert all(s.Z[k].data_ptr() != TARGET[k].data_ptr() for k in TARGET)


def test_residuals_are_what_they_are_called():
    s = admm.init(TARGET, project, 2.0)
    W = {k: t + 1 for k, t in TARGET.items()}
    after, residuals = admm.step(s, W, project)
    assert residuals.primal == pytest.approx(float(sum((W[k] - after.Z[k]).pow(2).sum() for k in W) ** 0.5))
    assert residuals.dual == pytest.approx(2.0 * float(sum((after.Z[k] - s.Z[k]).pow(2).sum() for k in W) ** 0.5))
    assert all(torch.equal(after.U[k], W[k] - after.Z[k]) for k in W)


def test_growing_rho_leaves_the_unscaled_dual_alone():
    s, _ = admm.step(admm.init(TARGET, project, 2.0), TARGET, project)
    grown = admm.grow(s, 1.3)
    assert grown.rho == 2.6
    assert all(torch.allclose(grown.rho * grown.U[k], s.rho * s.U[k]) for k in TARGET)


def test_the_penalty_gradient_is_that_of_the_squared_penalty():
    W = {k: torch.nn.Parameter(t.clone()) for k, t in TARGET.items()}
    s = admm.State(project(TARGET), {k: torch.randn_like(t) for k, t in TARGET.items()}, 0.7)
    penalty = torch.stack([s.rho / 2 * (W[k] - s.Z[k] + s.U[k]).pow(2).sum() for k in W]).sum()
    loss = penalty + torch.stack([w.sum() for w in W.values()]).sum()
    expected = dict(zip(W, torch.autograd.grad(loss, list(W.values())), strict=True))
    for w in W.values():
        w.grad = torch.ones_like(w)
    admm.add_penalty_gradient(s, W)
    gradients = {k: w.grad for k, w in W.items()}
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_divergence_is_an_error(value):
    s = admm.init(TARGET, project, 1.0)
    with pytest.raises(Diverged):
        admm.step(s, TARGET | {"a": torch.tensor([1.0, value, 0.0, 0.0])}, project)
