"""Resize and Upsample: along each axis, every position is a weighted sum of a few positions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pruning.onnx.build import Builder, bound, reads_numbers
from pruning.onnx.node import Node

# forms in which a whole factor repeats every position so many times
REPEATS = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}


@dataclass(frozen=True)
class Scheme:
    """The attributes of Resize."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0
    antialias: bool = False


def resize(build: Builder, node: Node) -> Any:
    if node.opset < 11:
        return build.call(bound(by_scales, _old(node), None), node.input(0), node.input(1), None)
    scheme = Scheme(
        node.attribute("mode", "nearest"),
        node.attribute("coordinate_transformation_mode", "half_pixel"),
        node.attribute("nearest_mode", "round_prefer_floor"),
        node.attribute("cubic_coeff_a", -0.75),
        bool(node.attribute("exclude_outside", 0)),
        node.attribute("extrapolation_value", 0.0),
        bool(node.attribute("antialias", 0)),
    )
    axes, roi = node.attribute("axes"), node.input(1)
    sizes, scales = node.input(3), node.input(2)
    if sizes is not None and not (isinstance(sizes, Tensor) and not sizes.numel()):
        policy = node.attribute("keep_aspect_ratio_policy", "stretch")
        return build.call(bound(by_sizes, scheme, axes, policy), node.input(0), sizes, roi)
    return build.call(bound(by_scales, scheme, axes), node.input(0), scales, roi)


def upsample(build: Builder, node: Node) -> Any:
    """Opset 7 to 9."""
    scales = torch.tensor(node.attribute("scales")) if node.opset < 9 else node.input(1)
    return build.call(bound(by_scales, _old(node), None), node.input(0), scales, None)


def _old(node: Node) -> Scheme:
    mode = node.attribute("mode", "nearest")
    return Scheme("linear" if mode == "bilinear" else mode, "asymmetric", "floor")


@reads_numbers
def by_scales(scheme: Scheme, axes: list[int] | None, x: Tensor, scales: Tensor, roi: Tensor | None) -> Tensor:
    """X resized by these factors."""
    factors = _of_all([float(s) for s in scales], axes, x.dim(), 1.0)
    corners = _corners(roi, axes, x.dim())
    sizes = []
    for n, s, (a, b) in zip(x.shape, factors, corners, strict=True):
        sizes.append(math.floor(n * (b - a) * s) if scheme.coordinates == "tf_crop_and_resize" else math.floor(n * s))
    return resized(x, sizes, factors, corners, scheme)


@reads_numbers
def by_sizes(
    scheme: Scheme, axes: list[int] | None, policy: str, x: Tensor, sizes: Tensor, roi: Tensor | None
) -> Tensor:
    """X resized to these lengths, or so that none is larger, or none smaller."""
    chosen = list(range(x.dim())) if axes is None else [a % x.dim() for a in axes]
    factors = [int(n) / x.shape[a] for n, a in zip(sizes, chosen, strict=True)]
    wanted = [int(n) for n in sizes]
    if policy != "stretch":
        one = min(factors) if policy == "not_larger" else max(factors)
        factors, wanted = [one] * len(chosen), [math.floor(one * x.shape[a] + 0.5) for a in chosen]
    corners = _corners(roi, axes, x.dim())
    lengths = [int(n) for n in _merged(x.shape, chosen, wanted)]
    return resized(x, lengths, _merged([1.0] * x.dim(), chosen, factors), corners, scheme)


def resized(
    x: Tensor, sizes: Sequence[int], scales: Sequence[float], roi: Sequence[tuple[float, float]], scheme: Scheme
) -> Tensor:
    """X with these lengths. The usual forms go to torch's own kernels."""
    fast = _fast(x, sizes, scales, scheme)
    if fast is not None:
        return fast
    outside = torch.zeros((), dtype=torch.bool)
    integral, values = not x.is_floating_point(), x.double() if not x.is_floating_point() else x
    for axis, (size, scale, corners) in enumerate(zip(sizes, scales, roi, strict=True)):
        if scheme.coordinates != "tf_crop_and_resize" and size == x.shape[axis] and scale == 1:
            continue
        places = positions(x.shape[axis], size, scale, corners, scheme.coordinates)
        values = weighted(values, axis, *taps(places, x.shape[axis], scale, scheme))
        if scheme.coordinates == "tf_crop_and_resize":
            beyond = (places < 0) | (places > x.shape[axis] - 1)
            outside = outside | beyond.reshape([-1 if i == axis else 1 for i in range(x.dim())])
    if bool(outside.any()):
        values = torch.where(outside.to(x.device), torch.tensor(scheme.extrapolation, dtype=values.dtype), values)
    return values.round().to(x.dtype) if integral else values.to(x.dtype)


def _fast(x: Tensor, sizes: Sequence[int], scales: Sequence[float], scheme: Scheme) -> Tensor | None:
    whole = x.dim() == 4 and x.is_floating_point() and list(sizes[:2]) == list(x.shape[:2]) and not scheme.antialias
    exact = all(n * s == m for n, s, m in zip(x.shape, scales, sizes, strict=True))
    if not whole or not exact:
        return None
    up = all(s == int(s) for s in scales)
    if scheme.mode == "nearest" and up and (scheme.coordinates, scheme.nearest) in REPEATS:
        return F.interpolate(x, size=tuple(sizes[2:]), mode="nearest")
    if scheme.mode == "linear" and scheme.coordinates in ("half_pixel", "pytorch_half_pixel") and min(sizes[2:]) > 1:
        return F.interpolate(x, size=tuple(sizes[2:]), mode="bilinear", align_corners=False)
    return None


def positions(n: int, size: int, scale: float, roi: tuple[float, float], mode: str) -> Tensor:
    """(size,) where each output position lies in an axis of n."""
    i = torch.arange(size, dtype=torch.float64)
    if mode == "align_corners":
        return i * (n - 1) / (n * scale - 1) if n * scale > 1 else torch.zeros_like(i)
    if mode == "asymmetric":
        return i / scale
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if size > 1 else torch.zeros_like(i)
    if mode == "half_pixel_symmetric":
        centre = n / 2
        return centre * (1 - size / (scale * n)) + (i + 0.5) / scale - 0.5
    if mode == "tf_crop_and_resize":
        start, end = roi
        if size == 1:
            return torch.full_like(i, 0.5 * (start + end) * (n - 1))
        return start * (n - 1) + i * (end - start) * (n - 1) / (size - 1)
    return (i + 0.5) / scale - 0.5


def taps(places: Tensor, n: int, scale: float, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """(size, taps) positions that each output position is made of, and their weights."""
    if scheme.mode == "nearest":
        found = _nearest(places, scheme.nearest).clamp(0, n - 1)[:, None]
        return found, torch.ones(found.shape, dtype=torch.float64)
    reach = 1 if scheme.mode == "linear" else 2
    stretch = min(scale, 1.0) if scheme.antialias else 1.0
    width = math.ceil(reach / stretch)
    found = places.floor().long()[:, None] + torch.arange(1 - width, width + 1)[None, :]
    distances = (places[:, None] - found) * stretch
    weights = _triangle(distances) if scheme.mode == "linear" else _cubic(distances, scheme.cubic)
    if scheme.exclude_outside:
        weights = torch.where((found >= 0) & (found < n), weights, torch.zeros_like(weights))
    if scheme.exclude_outside or scheme.antialias:
        weights = weights / weights.sum(1, keepdim=True)
    return found.clamp(0, n - 1), weights


def weighted(x: Tensor, axis: int, places: Tensor, weights: Tensor) -> Tensor:
    """X along an axis as weighted sums of positions. Args: places, weights: (size, taps)."""
    over = [-1 if i == axis else 1 for i in range(x.dim())]
    result = None
    for k in range(places.shape[1]):
        part = x.index_select(axis, places[:, k].to(x.device))
        weight = weights[:, k].to(x.dtype).to(x.device)
        if places.shape[1] > 1:
            part = part * weight.reshape(over)
        result = part if result is None else result + part
    return x if result is None else result


def _nearest(places: Tensor, mode: str) -> Tensor:
    if mode == "floor":
        return places.floor().long()
    if mode == "ceil":
        return places.ceil().long()
    if mode == "round_prefer_ceil":
        return (places + 0.5).floor().long()
    return (places - 0.5).ceil().long()


def _triangle(d: Tensor) -> Tensor:
    return (1 - d.abs()).clamp_min(0)


def _cubic(d: Tensor, a: float) -> Tensor:
    """Source: Keys 1981, cubic convolution."""
    d = d.abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _of_all(values: list[float], axes: list[int] | None, rank: int, other: float) -> list[float]:
    return values if axes is None else _merged([other] * rank, [a % rank for a in axes], values)


def _merged(base: Sequence[Any], axes: Sequence[int], values: Sequence[Any]) -> list[Any]:
    result = list(base)
    for axis, value in zip(axes, values, strict=True):
        result[axis] = value
    return result


def _corners(roi: Tensor | None, axes: list[int] | None, rank: int) -> list[tuple[float, float]]:
    if roi is None or not roi.numel():
        return [(0.0, 1.0)] * rank
    half = len(roi) // 2
    pairs = [(float(a), float(b)) for a, b in zip(roi[:half], roi[half:], strict=True)]
    return pairs if axes is None else _merged([(0.0, 1.0)] * rank, [a % rank for a in axes], pairs)


CONVERTERS: dict[str, Callable[[Builder, Node], Any]] = {"Resize": resize, "Upsample": upsample}
