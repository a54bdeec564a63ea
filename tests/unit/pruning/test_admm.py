"""ADMM on problems whose answer is known."""

import pytest
import torch

from pruning import admm
from pruning.errors import Diverged
from pruning.settings import HIGHEST_RHO
from pruning.sparsity.unstructured import Unstructured


def project(V):
    return {k: Unstructured().project(v, 2) for k, v in V.items()}


TARGET = {"a": torch.tensor([3.0, -2.0, 0.5, 0.1]), "b": torch.tensor([[1.0, 4.0], [-0.2, 0.3]])}


def rho(value: float) -> dict[str, float]:
    return dict.fromkeys(TARGET, value)


def exact_w_step(s: admm.State) -> dict[str, torch.Tensor]:
    """argmin 1/2 ||W - T||^2 + rho/2 ||W - Z + U||^2, in closed form."""
    return {k: (TARGET[k] + s.rho[k] * (s.Z[k] - s.U[k])) / (1 + s.rho[k]) for k in TARGET}


def test_finds_the_nearest_sparse_point():
    s, residuals = admm.step(admm.init(TARGET, project, rho(0.5)), TARGET, project)
    for _ in range(200):
        s, residuals = admm.step(s, exact_w_step(s), project)
        s = admm.grow(s, 1.05)
    assert residuals.primal < 1e-3 and residuals.dual < 1e-2
    for k, nearest in project(TARGET).items():
        assert torch.allclose(exact_w_step(s)[k], nearest, atol=1e-3)


def test_starts_in_the_set_with_memory_of_its_own():
    s = admm.init(TARGET, project, rho(1.0))
    assert all(torch.equal(s.Z[k], project(TARGET)[k]) for k in TARGET)
    assert all(not u.any() for u in s.U.values())
    assert all(s.Z[k].data_ptr() != TARGET[k].data_ptr() for k in TARGET)


def test_residuals_are_what_they_are_called():
    s = admm.init(TARGET, project, rho(2.0))
    W = {k: t + 1 for k, t in TARGET.items()}
    after, residuals = admm.step(s, W, project)
    assert residuals.primal == pytest.approx(float(sum((W[k] - after.Z[k]).pow(2).sum() for k in W) ** 0.5))
    assert residuals.dual == pytest.approx(2.0 * float(sum((after.Z[k] - s.Z[k]).pow(2).sum() for k in W) ** 0.5))
    assert all(torch.equal(after.U[k], W[k] - after.Z[k]) for k in W)


def test_growing_rho_leaves_the_unscaled_dual_alone():
    s, _ = admm.step(admm.init(TARGET, project, rho(2.0)), TARGET, project)
    grown = admm.grow(s, 1.3)
    assert grown.rho == rho(2.6)
    assert all(torch.allclose(grown.rho[k] * grown.U[k], s.rho[k] * s.U[k]) for k in TARGET)


def test_rho_grows_to_its_end_and_no_further():
    s, _ = admm.step(admm.init(TARGET, project, {"a": 2.0, "b": 1e-3}), TARGET, project)
    grown = s
    for _ in range(30):
        grown = admm.grow(grown, 1.3)
    assert grown.rho == {"a": HIGHEST_RHO, "b": pytest.approx(1e-3 * 1.3**30)}
    assert all(torch.allclose(grown.rho[k] * grown.U[k], s.rho[k] * s.U[k]) for k in TARGET)
    for _ in range(1000):
        grown = admm.grow(grown, 10)
    assert grown.rho == rho(HIGHEST_RHO)
    assert all(torch.allclose(grown.rho[k] * grown.U[k], s.rho[k] * s.U[k]) for k in TARGET)


def test_the_penalty_gradient_is_that_of_the_squared_penalty():
    W = {k: torch.nn.Parameter(t.clone()) for k, t in TARGET.items()}
    s = admm.State(
        project(TARGET), {k: torch.randn_like(t) for k, t in TARGET.items()}, {"a": 0.7, "b": 0.2}, frozenset()
    )
    penalty = torch.stack([s.rho[k] / 2 * (W[k] - s.Z[k] + s.U[k]).pow(2).sum() for k in W]).sum()
    loss = penalty + torch.stack([w.sum() for w in W.values()]).sum()
    expected = dict(zip(W, torch.autograd.grad(loss, list(W.values())), strict=True))
    for w in W.values():
        w.grad = torch.ones_like(w)
    admm.add_penalty_gradient(s, W)
    gradients = {k: w.grad for k, w in W.items()}
    torch.testing.assert_close(gradients, expected)


def test_what_the_projection_leaves_alone_feels_no_penalty():
    """Held to its last copy, a layer that may stay dense could not learn."""
    all_of_a = lambda V: {"a": V["a"].clone(), "b": Unstructured().project(V["b"], 2)}  # noqa: E731
    s = admm.init(TARGET, all_of_a, rho(1.0))
    assert s.free == {"a"}
    W = {k: torch.nn.Parameter(t + 1) for k, t in TARGET.items()}
    for w in W.values():
        w.grad = torch.zeros_like(w)
    admm.add_penalty_gradient(s, W)
    assert W["a"].grad is not None and not W["a"].grad.any()
    assert W["b"].grad is not None and W["b"].grad.any()
    after, _ = admm.step(s, {k: w.detach() for k, w in W.items()}, all_of_a)
    assert after.free == {"a"} and not after.U["a"].any()


@pytest.mark.parametrize(("primal", "dual", "factor"), [(11.0, 1.0, 2.0), (1.0, 11.0, 0.5), (1.0, 2.0, 1.0)])
def test_balancing_raises_rho_where_the_primal_residual_is_large(primal, dual, factor):
    s, _ = admm.step(admm.init(TARGET, project, {"a": 2.0, "b": 3.0}), TARGET, project)
    after = admm.rebalance(s, admm.Residuals(primal, dual, 0.1))
    assert after.rho == {"a": 2.0 * factor, "b": 3.0 * factor}
    assert all(torch.allclose(after.rho[k] * after.U[k], s.rho[k] * s.U[k]) for k in TARGET)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_divergence_is_an_error(value):
    s = admm.init(TARGET, project, rho(1.0))
    with pytest.raises(Diverged):
        admm.step(s, TARGET | {"a": torch.tensor([1.0, value, 0.0, 0.0])}, project)
