"""What a pruned model costs, in weights or multiply-adds. Importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import floor
from typing import Literal

from pruning.analysis import Layer
from pruning.plan import LayerRule, Pattern
from pruning.sparsity.form import Canonical, Form

Unit = Literal["weights", "multiply_adds"]
Kept = Mapping[str, int]  # groups, by layer; a layer that is not named stays dense


@dataclass(frozen=True)
class Part:
    """A layer and what the plan asks of it; pattern None: it stays dense."""

    layer: Layer
    pattern: Pattern | None = None
    rule: LayerRule | None = None

    @property
    def name(self) -> str:
        """Of the layer."""
        return self.layer.name

    @cached_property
    def shape(self) -> Canonical:
        """(g, out/g, in/g, k)."""
        return Form.of(self.layer).canonical

    @cached_property
    def groups(self) -> int:
        """Groups of the pattern in the layer."""
        return self.pattern.count(self.shape) if self.pattern else 1

    @property
    def inputs(self) -> int:
        """Channels or features that the layer reads."""
        return self.shape[0] * self.shape[2]

    @property
    def given(self) -> int | None:
        """Groups that stay whatever the budget is; None: the layer shares the budget."""
        if self.pattern is None:
            return None
        if self.pattern.kind == "n_m":
            return self.groups
        if self.rule is None or self.rule.sparsity is None:
            return None
        return max(1, floor(round(self.groups * (1 - self.rule.sparsity), 6)))

    def weights(self, kept: int) -> int:
        """Most weights that so many groups hold."""
        return self.pattern.most(self.shape, kept) if self.pattern else self.layer.weights

    @property
    def is_filters(self) -> bool:
        """Whether what goes are filters, and with them inputs of the layers that read these."""
        return self.pattern is not None and self.pattern.kind == "filter"


@dataclass(frozen=True)
class Costs:
    """Of all layers of a model, in one unit."""

    parts: tuple[Part, ...]
    unit: Unit

    @property
    def total(self) -> int:
        """Of the dense model."""
        return sum(self._full(part) for part in self.parts)

    @cached_property
    def given(self) -> dict[str, int]:
        """Groups that stay in layers that do not share the budget."""
        return {part.name: part.given for part in self.parts if part.given is not None}

    @cached_property
    def shared(self) -> tuple[Part, ...]:
        """Layers that share the budget."""
        return tuple(part for part in self.parts if part.pattern is not None and part.given is None)

    @property
    def least(self) -> dict[str, int]:
        """The fewest groups that may stay: one in each layer that shares the budget, lest the net is cut in two."""
        return self.given | {part.name: 1 for part in self.shared}

    def of(self, kept: Kept) -> int:
        """What is left in the delivered file, once removed filters and the inputs that they fed are gone."""
        return sum(self.of_each(kept).values())

    def of_each(self, kept: Kept) -> dict[str, int]:
        """By layer; rounded up, so that no budget is missed."""
        dead = self._dead_inputs(kept)
        return {part.name: self._cost(part, kept.get(part.name, part.groups), dead[part.name]) for part in self.parts}

    def of_group(self, part: Part) -> float:
        """What one group costs, its layer's inputs being alive."""
        return self._full(part) * part.weights(1) / part.layer.weights

    @property
    def price(self) -> int | None:
        """What any group costs, where it is the same for all that share the budget and independent of the others."""
        prices = {self.of_group(part) for part in self.shared}
        even = all(part.groups * part.weights(1) == part.layer.weights for part in self.shared)
        coupled = any(part.is_filters for part in self.parts)
        price = prices.pop() if len(prices) == 1 and even and not coupled else 0.5
        return int(price) if price >= 1 and price == int(price) else None

    def _full(self, part: Part) -> int:
        return part.layer.weights if self.unit == "weights" else part.layer.multiply_adds

    def _cost(self, part: Part, kept: int, dead: int) -> int:
        """Of filters, dead inputs are dead in each; of other groups nobody knows which of them these hold."""
        weights, whole, alive = part.weights(kept), part.layer.weights, part.inputs - dead
        crosses = part.is_filters and part.shape[0] == 1  # in a grouped layer, filters and inputs may die together
        left = weights * alive if crosses else min(weights * part.inputs, whole * alive)
        return -(-self._full(part) * left // (whole * part.inputs))

    def _dead_inputs(self, kept: Kept) -> dict[str, int]:
        """Inputs of each layer that nothing feeds any more, at least."""
        fed: dict[str, list[tuple[int, int]]] = {part.name: [] for part in self.parts}
        for source in (part for part in self.parts if part.is_filters):
            gone = source.groups - kept.get(source.name, source.groups)
            for reader, each in source.layer.readers.items():
                fed.setdefault(reader, []).append((gone * each, source.groups * each))
        return {part.name: _union(fed[part.name], part.inputs) for part in self.parts}


def _union(fed: list[tuple[int, int]], inputs: int) -> int:
    """Fewest inputs that are dead: (dead, all) by layer that feeds them; where these overlap, they may be the same."""
    dead = [gone for gone, _ in fed]
    return sum(dead) if sum(all_ for _, all_ in fed) <= inputs else max(dead)
