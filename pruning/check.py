"""A plan, a model and a data set held against each other before any work. Importable without torch."""

from __future__ import annotations

import math

from pruning.analysis import Analysis, DatasetSummary
from pruning.budgets import highest_rate, settle
from pruning.errors import InvalidPlan
from pruning.fit import Goal, check_fit
from pruning.plan import Plan
from pruning.rules import rule_of_each


def check(plan: Plan, analysis: Analysis, dataset: DatasetSummary) -> Goal:
    """What training aims at.

    Raises: InvalidPlan: the plan asks for what this model or data set cannot give; DatasetMismatch: they do not fit.
    """
    settle(plan, analysis.layers)
    if plan.budget.is_search and highest_rate(plan, analysis.layers) <= 1:
        raise InvalidPlan("rules in `layers` hold every layer dense: nothing is left to search for", "/layers")
    if plan.quantize is not None:
        rule_of_each(plan.quantize.layers, analysis.layers, "/quantize/layers")
    _check_units(plan, analysis)
    goal = check_fit(analysis, dataset, plan.train.loss, plan.train.output)
    _check_augment(plan, analysis, dataset)
    if plan.distill.teacher is not None and not (goal.has_targets and len(analysis.outputs) == 1):
        raise InvalidPlan(
            "another teacher is for data with labels and a model with one output: the dense model is what is held to "
            "here; leave teacher out",
            "/distill/teacher",
        )
    return goal


def _check_units(plan: Plan, analysis: Analysis) -> None:
    has_kernels = any(math.prod(layer.shape[2:]) > 1 for layer in analysis.layers)
    wanted = {"joint": plan.joint.gates == "unit" or not has_kernels, "gradual": plan.gradual.units < 1}
    if wanted.get(plan.method, False) and not any(layer.readers for layer in analysis.layers):
        raise InvalidPlan(
            "this model has no layer whose filters or neurons could be removed: all are added to those of others, or "
            "are its output; take the method direct or progressive, or leave gradual.units at 1",
            "/method" if plan.method == "joint" else "/gradual/units",
        )


def _check_augment(plan: Plan, analysis: Analysis, dataset: DatasetSummary) -> None:
    if plan.train.augment == "none":
        return
    if not any(len(port.example_shape) == 3 for port in analysis.inputs):
        raise InvalidPlan("the model's inputs are no images: take none", "/train/augment")
    if len(dataset.target_shape) > 1 or dataset.targets == "positions":
        raise InvalidPlan("the targets belong to places in the image, which would move: take none", "/train/augment")


def check_teacher(analysis: Analysis, teacher: Analysis) -> None:
    """Raises: InvalidPlan: it does not take and give what the model does."""
    for what in ("inputs", "outputs"):
        ports, others = ({p.name: p.example_shape for p in getattr(a, what)} for a in (analysis, teacher))
        if ports != others:
            raise InvalidPlan(
                f"the teacher's {what} are {others}, the model's {ports}: they must have the same names and shapes",
                "/distill/teacher",
            )
