"""How much each layer may keep. Importable without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pruning.allocations import ALLOCATIONS
from pruning.analysis import Layer
from pruning.costs import Costs, Part
from pruning.errors import InvalidPlan
from pruning.plan import Budget, LayerRule, Pattern, Plan
from pruning.rules import rule_of_each
from pruning.settings import HIGHEST_RATE
from pruning.sparsity import PATTERNS
from pruning.sparsity.form import Form

if TYPE_CHECKING:
    from torch import Tensor

Rules = Mapping[str, tuple[int, LayerRule]]  # by layer: the rule that counts, and its place in the plan


@dataclass(frozen=True)
class Allowance:
    """A plan's budget settled on the layers of one model.

    limit: what may stay, in the unit of costs. allocation: how layers share it, see pruning.allocations.
    """

    costs: Costs
    limit: int
    allocation: str

    @property
    def patterns(self) -> dict[str, Pattern]:
        """By layer; those that stay dense are not in it."""
        return {part.name: part.pattern for part in self.costs.parts if part.pattern is not None}

    @property
    def forms(self) -> dict[str, Form]:
        """By layer."""
        return {part.name: Form.of(part.layer) for part in self.costs.parts}

    @property
    def rho(self) -> dict[str, float]:
        """Penalty at the start, of layers for which a rule gives one."""
        rules = {part.name: part.rule for part in self.costs.parts if part.rule is not None}
        return {name: rule.rho for name, rule in rules.items() if rule.rho is not None}

    def allocate(self, scores: Mapping[str, Tensor]) -> dict[str, int]:
        """Groups kept in each layer that has a pattern, at least one; together they cost `limit` at most.

        Args: scores: norms of the groups, (count,), of each layer that has a pattern.
        Raises: Diverged: a score is NaN.
        """
        return self.costs.given | ALLOCATIONS[self.allocation](self.costs, self.limit, scores)


def settle(plan: Plan, layers: Sequence[Layer]) -> Allowance:
    """Hold a plan against a model's layers.

    The budget counts all convolution, dense and recurrent layers: those that stay dense count as kept,
    so that the pruning rate asked for is the one reported. What a search is to find out counts as rate 1.

    Raises: InvalidPlan: a rule matches nothing or asks for what a layer cannot be given, no layer can take the
    pattern, or the budget cannot be met.
    """
    rules = rule_of_each(plan.layers, layers, "/layers")
    parts = tuple(_part(plan, layer, rules) for layer in layers)
    _check_pattern(plan, parts)
    _check_sparsities(plan, parts, rules)
    costs = Costs(parts, "weights" if plan.budget.multiply_adds_share is None else "multiply_adds")
    limit = plan.budget.kept_of(costs.total)
    if costs.of(costs.least) > limit:
        raise InvalidPlan(_impossible(plan.budget, costs, limit), "/budget")
    return Allowance(costs, limit, plan.allocation)


def highest_rate(plan: Plan, layers: Sequence[Layer]) -> float:
    """The highest pruning rate that the plan's rules and patterns leave room for."""
    costs = settle(plan, layers).costs
    return _highest_rate(costs.total, costs.of(costs.least))


def _part(plan: Plan, layer: Layer, rules: Rules) -> Part:
    i, rule = rules.get(layer.name, (-1, None))
    if rule is not None and rule.exclude:
        return Part(layer, None, rule)
    pattern = (rule and rule.pattern) or plan.pattern
    why = _objection(pattern, layer)
    if why and rule is not None and rule.pattern is not None:
        raise InvalidPlan(
            f"{layer.name!r} cannot take the pattern {pattern.kind}: {why}; it can take {_possible_patterns([layer])}",
            f"/layers/{i}/pattern",
        )
    return Part(layer, None if why else pattern, rule)


def _objection(pattern: Pattern, layer: Layer) -> str:
    """Why a layer cannot take a pattern; empty where it can."""
    if why := pattern.objection(Form.of(layer)):
        return why
    if pattern.kind == "filter" and not layer.readers:
        return "its filters cannot be removed, they are added to those of other layers or are the model's output"
    return ""


def _possible_patterns(layers: Sequence[Layer]) -> str:
    return ", ".join(name for name, kind in PATTERNS.items() if any(not _objection(kind(), x) for x in layers))


def _check_pattern(plan: Plan, parts: Sequence[Part]) -> None:
    """Some layer takes the plan's own pattern, if any is to."""
    candidates = [part for part in parts if part.rule is None or not (part.rule.exclude or part.rule.pattern)]
    if candidates and all(part.pattern is None for part in candidates):
        layer = candidates[0].layer
        raise InvalidPlan(
            f"no layer can take the pattern {plan.pattern.kind} ({layer.name!r}: {_objection(plan.pattern, layer)}); "
            f"they can take {_possible_patterns([part.layer for part in candidates])}",
            "/pattern",
        )


def _check_sparsities(plan: Plan, parts: Sequence[Part], rules: Rules) -> None:
    """A rule's share of zeros is one that the pattern of its layers can give."""
    for i, rule in {i: rule for i, rule in rules.values() if rule.sparsity is not None}.items():
        asked = [part for part in parts if part.rule is rule]
        if all(part.pattern is None for part in asked):
            why = _objection(plan.pattern, asked[0].layer)
            raise InvalidPlan(
                f"{asked[0].name!r} cannot take the plan's pattern {plan.pattern.kind}: {why}; give the rule a pattern "
                f"of its own, it can take {_possible_patterns([asked[0].layer])}",
                f"/layers/{i}/pattern",
            )
        for pattern in (part.pattern for part in asked):
            if pattern is not None and pattern.kind == "n_m" and rule.sparsity != 1 - pattern.n / pattern.m:
                n, m = pattern.n, pattern.m
                raise InvalidPlan(
                    f"{n} of {m} is a sparsity of {1 - n / m:g}, not {rule.sparsity:g}; give the rule another pattern",
                    f"/layers/{i}/sparsity",
                )


def _impossible(budget: Budget, costs: Costs, limit: int) -> str:
    each, unit = costs.of_each(costs.least), costs.unit.replace("_", "-")
    held: dict[str, int] = {}
    for part in costs.parts:
        held[_holder(part)] = held.get(_holder(part), 0) + each[part.name]
    shares = [f"{n:,} {holder}" for holder, n in held.items() if holder]
    if costs.shared:
        shares.append(f"each of the {len(costs.shared)} layers that share it keeps at least one group ({held['']:,})")
    least = sum(each.values())
    return (
        f"the budget lets {limit:,} of {costs.total:,} {unit} stay, but {least:,} do: "
        f"{', '.join(shares)}: ask for {_possible(budget, costs.total, least)}"
    )


def _holder(part: Part) -> str:
    """By what a layer keeps its weights; empty where it shares the budget."""
    if part.pattern is None:
        excluded = part.rule is not None and part.rule.exclude
        return "are held by rules in `layers`" if excluded else "are in layers that cannot take the pattern"
    if part.pattern.kind == "n_m":
        return f"are what {part.pattern.n} of {part.pattern.m} leaves"
    return "are held by rules in `layers`" if part.given is not None else ""


def _possible(budget: Budget, total: int, least: int) -> str:
    """The closest budget of the same kind that leaves so much."""
    if budget.multiply_adds_share is not None:
        return f"a multiply_adds_share of at least {math.ceil(1e6 * least / total) / 1e6:g}"
    if budget.sparsity is not None:
        return f"a sparsity of at most {math.floor(1e6 * (1 - least / total)) / 1e6:g}"
    return f"a pruning rate of at most {_highest_rate(total, least):,}"


def _highest_rate(total: int, least: int) -> float:
    """To three digits, rounded down; no higher than a plan can ask for."""
    rate = min(math.floor(1000 * total / least), 1000 * HIGHEST_RATE)
    while Budget(pruning_rate=rate / 1000).kept_of(total) < least:
        rate -= 1
    return rate / 1000
