"""How many weights each layer may keep. Importable without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pruning.analysis import Layer
from pruning.errors import InvalidPlan
from pruning.plan import LayerRule, Plan
from pruning.sparsity.largest import largest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Allowance:
    """A plan's budget settled on the layers of one model.

    given: kept weights of the layers that a rule names, excluded ones whole.
    shared: the other layers, which share `shared_kept` weights.
    """

    given: Mapping[str, int]
    shared: Mapping[str, int]
    shared_kept: int
    allocation: str

    def allocate(self, V: Mapping[str, Tensor]) -> dict[str, int]:
        """Kept weights of each layer for these values; every layer keeps at least one.

        Source: Zhang et al. 2018 (one top-k over all layers of |W + U|).
        """
        if self.allocation == "uniform":
            return {**self.given, **_in_proportion(self.shared, self.shared_kept)}
        return {**self.given, **_of_the_largest({k: V[k] for k in self.shared}, self.shared_kept)}


def settle(plan: Plan, layers: Sequence[Layer]) -> Allowance:
    """Hold a plan against a model's layers.

    The budget counts the weights of all convolution and dense layers: excluded ones count as kept,
    so that the pruning rate asked for is the one reported.

    Raises: InvalidPlan: a rule matches nothing, or the budget cannot be met.
    """
    rules = _rule_of_each(plan.layers, layers)
    given = {layer.name: _kept(rules[layer.name], layer) for layer in layers if layer.name in rules}
    shared = {layer.name: layer.weights for layer in layers if layer.name not in rules}
    total = sum(layer.weights for layer in layers)
    left = plan.budget.kept_of(total) - sum(given.values())
    if left < len(shared) or (not shared and left < 0):
        raise InvalidPlan(_impossible(plan, total, given, shared), "/budget")
    return Allowance(given, shared, min(left, sum(shared.values())), plan.allocation)


def _rule_of_each(rules: Sequence[LayerRule], layers: Sequence[Layer]) -> dict[str, LayerRule]:
    found: dict[str, LayerRule] = {}
    for i, rule in enumerate(rules):
        matched = [x.name for x in layers if fnmatchcase(x.name, rule.match) or fnmatchcase(x.weight, rule.match)]
        if not matched:
            names = ", ".join(x.name for x in layers[:20])
            raise InvalidPlan(f"{rule.match!r} matches no layer; the layers are {names}", f"/layers/{i}/match")
        found |= dict.fromkeys(matched, rule)
    return found


def _kept(rule: LayerRule, layer: Layer) -> int:
    if rule.exclude:
        return layer.weights
    return max(1, int(round(layer.weights * (1 - (rule.sparsity or 0.0)), 6)))


def _impossible(plan: Plan, total: int, given: Mapping[str, int], shared: Mapping[str, int]) -> str:
    need = sum(given.values()) + len(shared)
    return (
        f"the budget lets {plan.budget.kept_of(total):,} of {total:,} weights stay, but {sum(given.values()):,} are "
        f"held by rules in `layers` and each of the {len(shared)} other layers keeps at least one: "
        f"ask for a pruning rate of at most {math.floor(1000 * total / max(need, 1)) / 1000:,}"
    )


def _in_proportion(weights: Mapping[str, int], kept: int) -> dict[str, int]:
    """Kept * weights / total, at least one each; the largest remainders take what rounding leaves."""
    total = sum(weights.values())
    exact = {k: kept * n / total for k, n in weights.items()}
    counts = {k: max(1, int(v)) for k, v in exact.items()}
    while (spare := kept - sum(counts.values())) != 0:
        sign = 1 if spare > 0 else -1
        able = [k for k in counts if (counts[k] < weights[k] if sign > 0 else counts[k] > 1)]
        for k in sorted(able, key=lambda k: sign * (counts[k] - exact[k]))[: abs(spare)]:
            counts[k] += sign
    return counts


def _of_the_largest(V: Mapping[str, Tensor], kept: int) -> dict[str, int]:
    if not V:
        return {}
    scores = [v.abs().flatten() for v in V.values()]
    for score in scores:
        score[score.argmax()] = float("inf")  # each layer keeps its largest: no net is cut in two
    joined = scores[0].new_empty(sum(s.numel() for s in scores))
    for part, score in zip(joined.split([s.numel() for s in scores]), scores, strict=True):
        part.copy_(score)
    parts = largest(joined, kept).split([s.numel() for s in scores])
    return {k: int(part.sum()) for k, part in zip(V, parts, strict=True)}
