"""Connections and neurons at once: gates v in {0, 1} on units or kernels, and weights of a given cardinality.

min f(diag(v) W) with card(W) and sum(v) given, by ADMM with a copy of W in its set, and one of v in the box with that
sum and one on the sphere. With allocation global this is the holistic variant: two numbers for the whole net.
Source: Lee & Lee 2022, as formulated in their code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning.allocations import of_the_largest
from pruning.errors import InvalidPlan
from pruning.gates import box, sphere
from pruning.sets import Sets
from pruning.sparsity.form import Form
from pruning.sparsity.largest import largest
from pruning.stages.problem import Began, Checkpoint, Events, Problem, unpack
from pruning.stages.retraining import Retraining
from pruning.stages.rounds import ENDING, Rounds, Training
from pruning.stages.stage import frozen_zeros, hard_prune, to_size

Tensors = Mapping[str, Tensor]
TIE = 1e-3  # by how much the weights behind gates can tell equal gates apart
LEAST, SURE = 0.25, 1e3  # part of the share of gates that each layer keeps in any case, and what makes sure of it


def joint(problem: Problem, resume: Checkpoint | None = None) -> Events:
    """ADMM on weights and gates, then units whose gate is closed and weights beyond the budget go, then retraining.

    Raises: Diverged, twice; InvalidPlan: no layer has units that can be removed.
    """
    sets = problem.sets(problem.plan.budget)
    if resume is not None:
        problem.network.module.load_state_dict(unpack(resume.tensors, "network"))
    if resume is not None and resume.phase == "retrain":
        ending: Mapping[str, float] = {k: resume.numbers[k] for k in ENDING}
    else:
        gated = Gated.of(problem, sets)
        ending = yield from gated.rounds().run(resume)
        yield Began("prune")
        gated.close()
        resume = None
    yield from Retraining(problem, problem.plan.retrain, frozen_zeros(problem), ending).run(resume)


@dataclass(frozen=True)
class Gated:
    """Weights W and gates v in the place of each gated layer's weights, which are their product.

    v: (g, out/g, 1 or in/g, 1), by layer; layers without gates are in W only.
    """

    problem: Problem
    sets: Sets
    forms: Mapping[str, Form]
    W: Mapping[str, nn.Parameter]
    v: Mapping[str, nn.Parameter]

    @classmethod
    def of(cls, problem: Problem, sets: Sets) -> "Gated":
        """Gates are open at the start."""
        network, settings = problem.network, problem.plan.joint
        forms = {k: Form.of(layer) for k, layer in network.layers.items()}
        W = {k: nn.Parameter(w.detach().clone()) for k, w in network.W().items()}
        v = {}
        for k, layer in network.layers.items():
            g, out, inputs, positions = forms[k].canonical
            per_kernel = settings.gates == "kernel" and positions > 1
            if per_kernel or layer.readers:
                v[k] = nn.Parameter(W[k].new_ones(g, out, inputs if per_kernel else 1, 1))
        if not v:
            raise InvalidPlan("this model has no layer whose filters or neurons could be removed", "/method")
        return cls(problem, sets, forms, W, v)

    def rounds(self) -> Rounds:
        """The ADMM rounds on W, and on v twice."""
        plan, names = self.problem.plan, self.problem.network.weights
        replaced = {names[k]: (w, self.v[k]) if k in self.v else (w,) for k, w in self.W.items()}
        scale = plan.joint.learning_rate / plan.admm.learning_rate
        training = Training(
            self.problem.trainer, self._on_gradient, after_step=self._after_step, replaced=replaced, scale=scale
        )
        parts = {"W": self.W, "box": self.v, "sphere": self.v}
        variables = {f"{part}/{k}": p for part, held in parts.items() for k, p in held.items()}
        weights_rho = {f"W/{k}": self.sets.allowance.rho.get(k, plan.admm.rho) for k in self.W}
        rho = {**dict.fromkeys(variables, plan.joint.rho), **weights_rho}
        told = {"pruning_rate": plan.budget.rate}
        return Rounds(self.problem, plan.admm, training, variables, self._project, rho, self._measured, told=told)

    @torch.no_grad()
    def close(self) -> None:
        """The network becomes what its gates and its budget leave; what is idle gives its place to other weights."""
        self.problem.network.set_W(self._shut())
        hard_prune(self.problem, self.sets)
        to_size(self.problem, self.problem.plan.budget)

    def _shut(self) -> dict[str, Tensor]:
        """The weights of gates that stay."""
        open = self._open()
        return {k: w * self._spread(k, open[k]) if k in open else w for k, w in self.W.items()}

    def _project(self, V: Tensors) -> dict[str, Tensor]:
        parts = {
            p: {k.partition("/")[2]: x for k, x in V.items() if k.startswith(f"{p}/")} for p in ("W", "box", "sphere")
        }
        found = {
            "W": self.sets.project(parts["W"], self.problem.importance()),
            "box": self._together(parts["box"], lambda x: box(x, self.problem.plan.joint.units * len(x))),
            "sphere": self._together(parts["sphere"], sphere),
        }
        return {f"{part}/{k}": x for part, held in found.items() for k, x in held.items()}

    def _together(self, v: Tensors, project: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Projected as one vector over all layers (holistic), or each layer by itself."""
        if self.problem.plan.allocation != "global":
            return {k: project(x.flatten()).view_as(x) for k, x in v.items()}
        parts = project(torch.cat([x.flatten() for x in v.values()])).split([x.numel() for x in v.values()])
        return {k: part.view_as(x) for part, (k, x) in zip(parts, v.items(), strict=True)}

    def _open(self) -> dict[str, Tensor]:
        """The gates that stay, as 0 and 1: the largest, and some of each layer, so that no net is cut in two."""
        share, v = self.problem.plan.joint.units, {k: (x + self._size(k)).flatten() for k, x in self.v.items()}
        if self.problem.plan.allocation == "global":
            for x in v.values():
                x += SURE * largest(x, max(1, int(LEAST * share * x.numel())))
            kept = of_the_largest(v, int(share * sum(x.numel() for x in v.values())))
        else:
            kept = {k: max(1, int(share * x.numel())) for k, x in v.items()}
        return {k: largest(x, kept[k]).view_as(self.v[k]).to(x.dtype) for k, x in v.items()}

    def _size(self, k: str) -> Tensor:
        """Norm of the weights behind each gate of a layer, as a small share of the layer's largest."""
        M = self.forms[k].matrices(self.W[k])
        norms = M.square().sum(3, keepdim=True) if self.v[k].shape[2] > 1 else M.square().sum((2, 3), keepdim=True)
        return TIE * norms / norms.max().clamp_min(1e-30)

    def _spread(self, k: str, v: Tensor) -> Tensor:
        """Gates of a layer in the shape of its weights."""
        return self.forms[k].restored(v.expand(self.forms[k].canonical))

    def _on_gradient(self) -> None:
        """The gradients of W and v, by that of their product."""
        for k, product in self.problem.network.W().items():
            if product.grad is None:
                continue
            v = self.v.get(k)
            self.W[k].grad = product.grad if v is None else product.grad * self._spread(k, v.detach())
            if v is not None:
                v.grad = self.forms[k].matrices(product.grad * self.W[k].detach()).sum_to_size(v.shape)

    @torch.no_grad()
    def _after_step(self) -> None:
        for k, product in self.problem.network.W().items():
            product.copy_(self.W[k] * self._spread(k, self.v[k]) if k in self.v else self.W[k])

    @torch.no_grad()
    def _measured(self) -> dict[str, float]:
        """Validation metric of the gated net, and of what would be left of it now."""
        accuracy = self.problem.measure()
        self.problem.network.set_W(self.sets.project(self._shut(), self.problem.importance()))
        pruned = self.problem.measure()
        self._after_step()
        return {"accuracy": accuracy, "accuracy_pruned": pruned}
