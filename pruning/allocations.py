"""How layers share a budget: each way gives the groups kept in each of them. Importable without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor, prod
from typing import TYPE_CHECKING

from pruning.costs import Costs
from pruning.errors import Diverged
from pruning.sparsity.largest import largest

if TYPE_CHECKING:
    from torch import Tensor

Scores = Mapping[str, "Tensor"]
SAME = 1e-9  # groups, by which rounding must not decide
HALVINGS = 100


def by_size(costs: Costs, limit: int, scores: Scores) -> dict[str, int]:
    """The groups of largest norm of the whole net stay, for their cost: score^2 / cost.

    Source: Zhang et al. 2018 (one top-k over all layers of |W + U|).
    """
    return _most_valuable(costs, limit, [scores[part.name] for part in costs.shared])


def by_lamp(costs: Costs, limit: int, scores: Scores) -> dict[str, int]:
    """As by_size, of w^2 over the sum of the layer's larger or equal w^2.

    Source: Lee et al. 2021, "Layer-adaptive sparsity for the magnitude-based pruning", section 3.
    """
    return _most_valuable(costs, limit, [lamp(scores[part.name]) for part in costs.shared])


def lamp(score: Tensor) -> Tensor:
    """Square root of the LAMP score of each group, largest first."""
    squares = score.double().sort(descending=True).values.square()
    return (squares / squares.cumsum(0).clamp(min=1e-300)).sqrt()


def by_share(costs: Costs, limit: int, scores: Scores) -> dict[str, int]:
    """The same share of the groups stays in each layer."""
    return _in_proportion(costs, limit, {part.name: 1.0 for part in costs.shared})


def by_shape(costs: Costs, limit: int, scores: Scores) -> dict[str, int]:
    """Erdos-Renyi-kernel: a share in proportion to (out + in + kh + kw) / (out * in * kh * kw), 1 at most.

    Source: Evci et al. 2020, "Rigging the lottery", section 3.
    """
    shapes = {part.name: part.layer.shape for part in costs.shared}
    return _in_proportion(costs, limit, {k: sum(shape) / prod(shape) for k, shape in shapes.items()})


def of_the_largest(scores: Scores, kept: int) -> dict[str, int]:
    """How many of the `kept` largest of all layers together lie in each; each layer's largest is among them."""
    joined = _joined(list(scores.values()), [1.0] * len(scores))
    parts = largest(joined, max(kept, len(scores))).split([s.numel() for s in scores.values()])
    return {k: int(part.sum()) for k, part in zip(scores, parts, strict=True)}


def _in_proportion(costs: Costs, limit: int, ratio: Mapping[str, float]) -> dict[str, int]:
    """The largest shares s * ratio, rounded down, that fit; what is left goes to the largest remainders."""
    if not ratio:
        return {}
    low, high = 0.0, 2 / min(ratio.values())  # at which all stays
    if _fits(costs, limit, _shares(costs, ratio, high)):
        return _shares(costs, ratio, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _fits(costs, limit, _shares(costs, ratio, middle)) else (low, middle)
    kept = _shares(costs, ratio, low)
    wanted = {part.name: min(1, low * ratio[part.name]) * part.groups for part in costs.shared}
    for part in sorted(costs.shared, key=lambda part: kept[part.name] - wanted[part.name]):
        more = kept | {part.name: kept[part.name] + 1}
        kept = more if kept[part.name] < part.groups and _fits(costs, limit, more) else kept
    return kept


def _shares(costs: Costs, ratio: Mapping[str, float], s: float) -> dict[str, int]:
    return {part.name: max(1, floor(min(1, s * ratio[part.name]) * part.groups + SAME)) for part in costs.shared}


def _most_valuable(costs: Costs, limit: int, scores: list[Tensor]) -> dict[str, int]:
    """Groups in the order of score / sqrt(cost), each layer's best before all others, as long as they fit."""
    if not scores:
        return {}
    names, sizes = [part.name for part in costs.shared], [s.numel() for s in scores]
    joined = _joined(scores, _scales(costs))
    if costs.price is not None:
        nothing = costs.given | dict.fromkeys(names, 0)
        mask = largest(joined, min((limit - costs.of(nothing)) // costs.price, sum(sizes)))
        return {k: int(part.sum()) for k, part in zip(names, mask.split(sizes), strict=True)}
    ranks = _ranks(joined).split(sizes)

    def first(n: int) -> dict[str, int]:
        return {k: int((rank <= n).sum()) for k, rank in zip(names, ranks, strict=True)}

    low, high = len(names), sum(sizes)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(costs, limit, first(middle)) else (low, middle - 1)
    return first(low)


def _joined(scores: list[Tensor], scales: list[float]) -> Tensor:
    """All scores after one another, scaled; each layer's best is infinite. Raises: Diverged: a score is NaN."""
    joined = scores[0].new_empty(sum(s.numel() for s in scores))
    for part, score, scale in zip(joined.split([s.numel() for s in scores]), scores, scales, strict=True):
        part.copy_(score)
        if scale != 1:
            part.mul_(scale)
        if part.isnan().any():
            raise Diverged
        part[part.argmax()] = float("inf")
    return joined


def _scales(costs: Costs) -> list[float]:
    """1 / sqrt(cost) of a group of each layer; all 1 where groups cost the same, so that no rounding makes ties."""
    prices = [costs.of_group(part) or 1.0 for part in costs.shared]
    return [1.0 if len(set(prices)) == 1 else price**-0.5 for price in prices]


def _ranks(values: Tensor) -> Tensor:
    """1 for the largest; the first of equals first."""
    order = values.argsort(descending=True, stable=True)
    return order.scatter(0, order, order.new_ones(order.shape).cumsum(0))


def _fits(costs: Costs, limit: int, kept: Mapping[str, int]) -> bool:
    return costs.of({**costs.given, **kept}) <= limit


ALLOCATIONS: dict[str, Callable[[Costs, int, Scores], dict[str, int]]] = {
    "global": by_size,
    "uniform": by_share,
    "lamp": by_lamp,
    "erk": by_shape,
}
