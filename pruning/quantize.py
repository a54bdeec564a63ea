"""Level sets: what is left after pruning takes few values, evenly spaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pruning.analysis import Layer
from pruning.errors import Diverged, InvalidPlan
from pruning.rules import rule_of_each

if TYPE_CHECKING:
    from pruning.settings import Quantize

DEFAULT_BITS, LEAST_BITS, MOST_BITS = 4, 2, 8
EXACT_UP_TO = 5_000_000  # places where a weight changes its level: sorting them takes a second
STARTS, TURNS = 1024, 100
AS_GOOD = 1e-12  # relative; what summing in another order changes is less
FINEST, ROUNDING = 1e-6, {"float16": 1e-3, "bfloat16": 8e-3}  # of q k in a file, relative, and as much again of q
LEAST_NORMAL_HALF = 2.0**-14  # smaller ones in float16 are rounded to a fixed spacing
TOLD_APART = 0.25  # of a step: coarser values fit any step
MOST_VALUES = 2**12  # of a set of 8 bits, each with some roundings
DIGITS_OF_SINGLE, LEAST_STEP = 24, 2.0**-126


@dataclass(frozen=True)
class Levels:
    """Z = q k on the mask with whole k, 1 <= |k| <= 2^(bits - 1), and 0 elsewhere."""

    Z: Tensor
    q: float


def project(V: Tensor, mask: Tensor, bits: int, q: float | None = None) -> Levels:
    """Argmin ||Z - V||_F over {Z: 0 off the mask, q {+-1, ..., +-2^(bits-1)} on it}, for this q or over all q > 0.

    Zero is no level: on the mask 0 becomes +q. A q that is found here is rounded so that float32 holds its levels
    exactly, which makes the projection idempotent to the bit; of steps that are equally good it is the largest.
    It is the best of all while 2^(bits-1) - 1 times the kept weights is at most EXACT_UP_TO, else the best that
    alternation finds from 1,024 starts.

    Args: V: float32 or float64, any shape; mask: of that shape, True = kept.
    Raises: Diverged: V is not finite, or q not finite and positive.
    Source: Leng et al. 2017 (a step for each layer, found in turn with the levels); the sweep over all is our own.
    """
    if not V.isfinite().all() or (q is not None and not 0 < q < math.inf):
        raise Diverged
    if q is None:
        q = _exact_in_single(_best_step(V[mask].abs().double(), 2 ** (bits - 1)), bits)
    return Levels(_nearest(V, mask, 2 ** (bits - 1), q), q)


def squared_error(W: Tensor, mask: Tensor, bits: int) -> float:
    """||Z - W||^2 over the kept weights, Z being the projection of W."""
    return float((project(W, mask, bits).Z - W)[mask].double().square().sum())


def bits_of(
    quantize: Quantize, layers: Sequence[Layer], kept: Mapping[str, int], error: Callable[[str, int], float]
) -> dict[str, int]:
    """Bits of each layer; with average_bits those whose loss costs least are taken away first.

    Args: kept: weights of each layer that are not zero; error: squared error of a layer at so many bits, only asked
    for with average_bits.
    Raises: InvalidPlan: a rule matches nothing, or average_bits cannot be met.
    """
    rules = rule_of_each(quantize.layers, layers, "/quantize/layers")
    given = {name: rule.bits for name, (_, rule) in rules.items()}
    free = [layer.name for layer in layers if layer.name not in given]
    if quantize.average_bits is None:
        return given | dict.fromkeys(free, quantize.bits or DEFAULT_BITS)
    return _lowered(given, free, kept, quantize.average_bits, error)


def levels_in(values: np.ndarray) -> int | None:
    """Least b in 1 to 8 with which the non-zeros are q {+-1, ..., +-2^(b-1)} for some q; None where there is none.

    Found from the values alone, up to the rounding of their type; bfloat16 is too coarse for more than 5 bits.
    """
    tolerance = ROUNDING.get(values.dtype.name, FINEST)
    m = np.unique(np.abs(values[values != 0].astype(np.float64)))
    if len(m) > MOST_VALUES or not np.isfinite(m).all():
        return None
    allowed = tolerance * np.maximum(m, LEAST_NORMAL_HALF if values.dtype == np.float16 else 0)
    tops = range(1, min(2 ** (MOST_BITS - 1), int(TOLD_APART / tolerance)) + 1)
    top = next((top for top in tops if _are_steps(m, top, allowed)), None)
    return None if top is None else 1 + math.ceil(math.log2(top))


def _best_step(a: Tensor, top: int) -> float:
    """Q with the least sum of (a - q k)^2 over q > 0 and k in 1 to top. Args: a: (n,), not negative."""
    if not len(a):
        return 1.0
    return _swept(a, top) if len(a) * (top - 1) <= EXACT_UP_TO else _alternated(a, top)


def _swept(a: Tensor, top: int) -> float:
    """All that can be nearest: as q falls, one weight after another goes from level k to k + 1, at q = a / (k + 1/2).

    Between two such places k stays, and the least error is sum(a^2) - <a, k>^2 / <k, k>.
    """
    k = torch.arange(1, top, dtype=a.dtype, device=a.device)
    order = (a[:, None] / (k + 0.5)).flatten().argsort(descending=True, stable=True)
    products = _running(a.sum(), a[:, None].expand(-1, top - 1).flatten()[order])
    squares = _running(a.new_tensor(len(a)), (2 * k + 1).repeat(len(a))[order])
    return _best(products, squares)


def _alternated(a: Tensor, top: int) -> float:
    """Nearest level and least squares in turn until nothing changes, from many starts at once.

    <a, k> / <k, k> is at least mean(a) / top where k grows with a, so no start need be below.
    """
    ordered = a.sort().values
    lowest, highest = float(a.mean()) / top, float(ordered[-1])
    if highest == 0:
        return 0.0
    sums = torch.cat([a.new_zeros(1), ordered.cumsum(0)])
    q = torch.logspace(math.log10(lowest), math.log10(highest), STARTS, dtype=a.dtype, device=a.device)
    for _ in range(TURNS):
        products, squares = _at(q, ordered, sums, top)
        if torch.equal(q, products / squares):
            break
        q = products / squares
    return _best(*_at(q, ordered, sums, top))


def _at(q: Tensor, ordered: Tensor, sums: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """<a, k> and <k, k> for the nearest levels at each of these steps; sums: of the first 0 to n of a, in order."""
    k = torch.arange(1, top, dtype=q.dtype, device=q.device)
    below = torch.searchsorted(ordered, q[:, None] * (k + 0.5))
    products = sums[-1] + (sums[-1] - sums[below]).sum(1)
    squares = len(ordered) + ((len(ordered) - below) * (2 * k + 1)).sum(1)
    return products, squares


def _running(start: Tensor, changes: Tensor) -> Tensor:
    """(n + 1,): start, and after each change."""
    return torch.cat([start[None], start + changes.cumsum(0)])


def _best(products: Tensor, squares: Tensor) -> float:
    """<a, k> / <k, k> where <a, k>^2 / <k, k> is largest; the largest of them where several are."""
    score = products.square() / squares
    steps = products / squares
    return float(steps[score >= score.max() * (1 - AS_GOOD)].max())


def _exact_in_single(q: float, bits: int) -> float:
    """Q with so few binary digits that float32 holds all its levels."""
    mantissa, exponent = math.frexp(max(q, LEAST_STEP))
    digits = DIGITS_OF_SINGLE - (bits - 1)
    return math.ldexp(round(math.ldexp(mantissa, digits)), exponent - digits)


def _nearest(V: Tensor, mask: Tensor, top: int, q: float) -> Tensor:
    k = (V.abs().double() / q).round().clamp(1, top)
    return (k * q).to(V.dtype).where(V >= 0, -(k * q).to(V.dtype)).where(mask, V.new_zeros(()))


def _lowered(
    given: Mapping[str, int],
    free: Sequence[str],
    kept: Mapping[str, int],
    average: float,
    error: Callable[[str, int], float],
) -> dict[str, int]:
    """From 8 bits down, each time where a saved bit adds the least error."""
    bits = {**given, **dict.fromkeys(free, MOST_BITS)}
    allowed = average * sum(kept[k] for k in bits)
    least = sum(kept[k] * given.get(k, LEAST_BITS) for k in bits)
    if least > allowed * (1 + 1e-9):
        raise InvalidPlan(_impossible(least, kept, bits), "/quantize/average_bits")
    price = {k: _price(k, MOST_BITS, kept, error) for k in free}
    while sum(kept[k] * b for k, b in bits.items()) > allowed * (1 + 1e-9):
        cheapest = min(price, key=lambda k: price[k])
        bits[cheapest] -= 1
        price[cheapest] = _price(cheapest, bits[cheapest], kept, error)
    return bits


def _price(layer: str, bits: int, kept: Mapping[str, int], error: Callable[[str, int], float]) -> float:
    """What is added to the squared error for each bit saved, if the layer gives up one of its bits."""
    if bits == LEAST_BITS or not kept[layer]:
        return math.inf
    return (error(layer, bits - 1) - error(layer, bits)) / kept[layer]


def _impossible(least: int, kept: Mapping[str, int], bits: Mapping[str, int]) -> str:
    mean = math.ceil(1000 * least / sum(kept[k] for k in bits)) / 1000
    return (
        f"with the bits that rules in `layers` give and {LEAST_BITS} for each other layer, a kept weight takes "
        f"{mean:,} on the mean: ask for average_bits of at least that"
    )


def _are_steps(m: np.ndarray, top: int, allowed: np.ndarray) -> bool:
    """Whether magnitudes are whole multiples of one step, the largest of them its `top`-fold."""
    if not len(m):
        return True
    k = np.round(m * (top / m[-1]))
    q = (m @ k) / max(k @ k, 1)
    return bool(k.min() >= 1 and (np.abs(m - q * k) <= allowed).all())
