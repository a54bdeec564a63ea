"""The recursion of ADMM, and nothing else.

min f(W) + indicator_S(Z) subject to W = Z, with the scaled dual U.
Source: Boyd et al. 2011, section 3.1.1; Zhang et al. 2018 for deep nets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pruning.errors import Diverged
from pruning.settings import HIGHEST_RHO

CONVERGED = 1e-3  # relative primal residual: a hard prune would change nothing that matters
GROWN = 10.0  # times the first primal residual: the rounds lead away
Weights = Mapping[str, Tensor]
Projection = Callable[[Weights], dict[str, Tensor]]


@dataclass(frozen=True)
class State:
    """Z is in the set, U is the scaled dual (y / rho), rho the penalty; all have W's keys.

    free: keys of which the last projection took nothing. They feel no penalty: it would hold W where it is.
    """

    Z: Weights
    U: Weights
    rho: Mapping[str, float]
    free: frozenset[str]


@dataclass(frozen=True)
class Residuals:
    """primal = ||W - Z||, dual = ||rho (Z - Z_prev)||, both Frobenius over all layers.

    relative = ||W - Z|| / ||W||: how much a hard prune would take away.
    """

    primal: float
    dual: float
    relative: float


@torch.no_grad()
def init(W: Weights, project: Projection, rho: Mapping[str, float]) -> State:
    """Start at Z = the projection of W (not at W: the first W-step would feel no pull), U = 0."""
    Z = project(W)
    return State(Z, {k: torch.zeros_like(w) for k, w in W.items()}, rho, _untouched(Z, W))


@torch.no_grad()
def step(s: State, W: Weights, project: Projection) -> tuple[State, Residuals]:
    """Update Z and U after a W-step.

    Raises: Diverged: W or U is not finite.
    """
    V = {k: W[k] + s.U[k] for k in W}
    Z = project(V)
    U = {k: V[k] - Z[k] for k in W}
    primal = _norm({k: W[k] - Z[k] for k in W})
    dual = _norm({k: s.rho[k] * (Z[k] - s.Z[k]) for k in W})
    if not _finite(primal, dual):
        raise Diverged
    return State(Z, U, s.rho, _untouched(Z, V)), Residuals(primal, dual, primal / max(_norm(W), 1e-12))


def has_converged(residuals: Residuals, first: float) -> bool:
    """Whether W is in the set, for all that matters; first is the primal residual of round 1.

    Raises: Diverged: the primal residual has grown tenfold.
    """
    if residuals.primal > GROWN * first:
        raise Diverged("W moves away from the pruned net: lower the learning rate or raise rho")
    return residuals.relative < CONVERGED


def grow(s: State, factor: float) -> State:
    """Change rho; U = y / rho, so it shrinks by the factor that rho grows by (Boyd et al. 2011, 3.4.1).

    rho ends at HIGHEST_RHO, far above any gradient of a loss: without an end it leaves float32 in some 200 rounds.
    """
    rho = {k: min(value * factor, HIGHEST_RHO) for k, value in s.rho.items()}
    return replace(s, rho=rho, U={k: u / (rho[k] / s.rho[k]) for k, u in s.U.items()})


def rebalance(s: State, residuals: Residuals, mu: float = 10.0, tau: float = 2.0) -> State:
    """Residual balancing: rho by tau where one residual is mu times the other (Boyd et al. 2011, 3.4.1)."""
    if residuals.primal > mu * residuals.dual:
        return grow(s, tau)
    return grow(s, 1 / tau) if residuals.dual > mu * residuals.primal else s


@torch.no_grad()
def add_penalty_gradient(s: State, W: Mapping[str, torch.nn.Parameter]) -> None:
    """Add the gradient of rho/2 ||W - Z + U||_F^2 to W's: the W-step's own term, seen by the optimizer."""
    for k, w in W.items():
        if w.grad is not None and k not in s.free:
            rho = s.rho[k]
            w.grad.add_(w, alpha=rho).sub_(s.Z[k], alpha=rho).add_(s.U[k], alpha=rho)


def _untouched(Z: Weights, V: Weights) -> frozenset[str]:
    return frozenset(k for k in Z if torch.equal(Z[k], V[k]))


def _norm(W: Weights) -> float:
    return float(torch.stack([w.norm() for w in W.values()]).norm())


def _finite(*values: float) -> bool:
    return all(abs(v) < float("inf") for v in values)
