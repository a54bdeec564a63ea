"""Level sets, by brute force where they are small; bits of layers; bits found in a file."""

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pruning import quantize
from pruning.analysis import Layer
from pruning.errors import Diverged, InvalidPlan
from pruning.quantize import bits_of, levels_in, project, squared_error

SEEDS, BITS = range(20), (1, 2, 3, 4, 8)


def given(seed: int, *shape: int, kept: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and a mask."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) / 7, torch.rand(shape, generator=generator) < kept


def nearest(a: torch.Tensor, bits: int) -> float:
    """Least squared error over all ways to give magnitudes their levels, each with its own best step."""
    ways = torch.tensor(list(product(range(1, 2 ** (bits - 1) + 1), repeat=len(a))), dtype=torch.float64)
    return float(a @ a - ((ways @ a).square() / ways.square().sum(1)).max())


def steps(Z: torch.Tensor, q: float) -> torch.Tensor:
    """Z / q, whole numbers."""
    k = Z.double() / q
    assert torch.allclose(k, k.round(), rtol=1e-6, atol=0)
    return k.round()


@pytest.fixture(params=["swept", "alternated"])
def way(request, monkeypatch) -> str:
    """Both ways to a step, on tensors of any size."""
    if request.param == "alternated":
        monkeypatch.setattr(quantize, "EXACT_UP_TO", -1)
    return request.param


@pytest.mark.parametrize(("bits", "size"), [(1, 6), (2, 8), (3, 6), (4, 4)])
@pytest.mark.parametrize("seed", SEEDS)
def test_projection_is_the_nearest_point(way, seed, bits, size):
    V, mask = given(seed, 2, size // 2, kept=2)
    found = project(V, mask, bits)
    expected = nearest(V.flatten().abs().double(), bits)
    error = float((V - found.Z).double().square().sum())
    assert error == pytest.approx(expected, rel=1e-5, abs=1e-10 * float(V.square().sum()))


@pytest.mark.parametrize("bits", BITS)
def test_it_is_on_the_levels_and_the_mask(way, bits):
    V, mask = given(0, 6, 5, 3, 3)
    Z, q = project(V, mask, bits).Z, project(V, mask, bits).q
    k = steps(Z, q)
    assert torch.equal(Z.double(), k * q)  # to the last bit: q has few digits
    assert torch.equal(Z != 0, mask)
    assert int(k.abs().max()) <= 2 ** (bits - 1)
    assert torch.equal(Z.sign()[mask], V.sign()[mask])


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_projection_is_idempotent(way, seed, dtype, bits):
    V, mask = given(seed, 40, 10)
    first = project(V.to(dtype), mask, bits)
    again = project(first.Z, mask, bits)
    assert torch.equal(again.Z, first.Z) and first.Z.dtype == dtype
    assert torch.equal(project(first.Z, mask, bits, first.q).Z, first.Z)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("q", [0.01, 0.1, 1.0])
def test_with_a_given_step_each_weight_goes_to_its_nearest_level(bits, q):
    V, mask = given(1, 10, 10)
    levels = q * torch.tensor([s * k for k in range(1, 2 ** (bits - 1) + 1) for s in (1, -1)], dtype=torch.float64)
    found = project(V, mask, bits, q)
    distance = (V.double()[..., None] - levels).abs().min(-1).values
    assert found.q == q
    assert torch.allclose((found.Z.double() - V).abs()[mask], distance[mask], atol=1e-6)
    assert not found.Z[~mask].any()


@pytest.mark.parametrize("bits", BITS)
def test_the_step_is_that_of_least_squares_for_its_levels(way, bits):
    V, mask = given(2, 30, 30)
    found = project(V, mask, bits)
    a, k = V[mask].double(), steps(found.Z, found.q)[mask]
    assert float(a @ k / (k @ k)) == pytest.approx(found.q, rel=2**-16)  # what rounding q leaves
    assert torch.equal(project(V, mask, bits, found.q).Z, found.Z)


def test_more_bits_are_never_further_away():
    V, mask = given(3, 30, 30)
    errors = [squared_error(V, mask, bits) for bits in range(1, 9)]
    assert errors == sorted(errors, reverse=True)


def test_alternation_comes_close_on_many_weights(monkeypatch):
    V, mask = given(4, 300, 100)
    exact = [squared_error(V, mask, bits) for bits in (2, 3, 4)]
    monkeypatch.setattr(quantize, "EXACT_UP_TO", 0)
    assert [squared_error(V, mask, bits) for bits in (2, 3, 4)] == pytest.approx(exact, rel=1e-6)


def test_zero_on_the_mask_is_one_step_up(way):
    V = torch.tensor([0.0, -0.0, 2.0, -3.0, 5.0])
    mask = torch.tensor([True, True, True, True, False])
    assert project(V, mask, 2, 1.5).Z.tolist() == [1.5, 1.5, 1.5, -3.0, 0.0]
    assert (project(V, mask, 2).Z[:2] > 0).all()


def test_kept_zeros_alone_are_on_levels_too(way):
    found = project(torch.zeros(4), torch.ones(4, dtype=torch.bool), 4)
    assert 0 < found.q < 1e-30 and found.Z.tolist() == [found.q] * 4


def test_an_empty_mask_gives_zeros(way):
    V, mask = given(0, 3, 3)
    assert not project(V, torch.zeros_like(mask), 3).Z.any() and not project(V[:0], mask[:0], 3).Z.any()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(wrong):
    mask = torch.ones(2, dtype=torch.bool)
    with pytest.raises(Diverged):
        project(torch.tensor([1.0, wrong]), mask, 3)
    with pytest.raises(Diverged):
        project(torch.ones(2), mask, 3, wrong)
    with pytest.raises(Diverged):
        project(torch.ones(2), mask, 3, 0.0)


def test_it_shares_no_memory_and_changes_nothing():
    V, mask = given(0, 4, 4, kept=2)
    Z = project(V, mask, 3).Z
    before, kept = Z.clone(), V.clone()
    for found in (Z, project(Z, mask, 3).Z):
        found.mul_(2)
    assert torch.equal(V, kept) and torch.equal(Z, 2 * before)


def test_memory_layout_does_not_matter():
    V, mask = given(0, 4, 3, 5, 5)
    last = V.contiguous(memory_format=torch.channels_last)
    first, other = project(V, mask, 3), project(last, mask, 3)
    assert first.q == other.q and torch.equal(first.Z, other.Z)


def test_of_equally_good_steps_it_is_the_largest(way):
    V = torch.tensor([2.0, -4.0, 4.0])
    assert project(V, V != 0, 4).q == 2.0


# bits of layers


def layer(name: str, weights: int) -> Layer:
    return Layer(
        name=name,
        weight=f"{name}.weight",
        kind="dense",
        shape=(weights, 1),
        weights=weights,
        zeros_share=0,
        patterns=("unstructured",),
        multiply_adds=weights,
    )


LAYERS = [layer("conv1", 20), layer("conv2", 80), layer("fc", 900)]
KEPT = {"conv1": 10, "conv2": 20, "fc": 70}


def asked(bits: int | None = None, average_bits: float | None = None, **layers: int) -> Any:
    """What a plan asks for; rules by their match."""
    rules = tuple(SimpleNamespace(match=match, bits=b) for match, b in layers.items())
    return SimpleNamespace(bits=bits, average_bits=average_bits, layers=rules)


def coarse(name: str, bits: int) -> float:
    """Errors of uniform levels: four times as large for each bit less, for all layers alike."""
    return KEPT[name] * 4.0**-bits


def unasked(name: str, bits: int) -> float:
    raise AssertionError("errors are for averages alone")


def test_bits_are_fixed_but_for_rules():
    assert bits_of(asked(), LAYERS, KEPT, unasked) == dict.fromkeys(KEPT, 4)
    assert bits_of(asked(3), LAYERS, KEPT, unasked) == dict.fromkeys(KEPT, 3)
    rules = {"conv*": 5, "*.weight": 6, "conv2.weight": 2}
    assert bits_of(asked(3, **rules), LAYERS, KEPT, unasked) == {"conv1": 6, "conv2": 2, "fc": 6}


def test_a_rule_that_matches_nothing_is_named():
    with pytest.raises(InvalidPlan, match="'conv9' matches no layer; the layers are conv1, conv2, fc") as error:
        bits_of(asked(fc=2, conv9=3), LAYERS, KEPT, unasked)
    assert error.value.pointer == "/quantize/layers/1/match"


@pytest.mark.parametrize("average", [2, 2.5, 3, 4.25, 8])
def test_the_average_is_kept_over_kept_weights(average):
    bits = bits_of(asked(average_bits=average), LAYERS, KEPT, coarse)
    mean = sum(bits[k] * n for k, n in KEPT.items()) / 100
    assert mean <= average and set(bits.values()) <= set(range(2, 9))
    assert mean > average - 0.7  # a bit less for fc


def test_bits_go_where_they_cost_least():
    """conv1 is a hundred times as sensitive, which is worth three bits."""
    bits = bits_of(asked(average_bits=3), LAYERS, KEPT, lambda k, b: coarse(k, b) * (100 if k == "conv1" else 1))
    assert bits["conv1"] >= bits["conv2"] + 3 and bits["fc"] == 2


def test_rules_are_counted_in_the_average_and_stay():
    bits = bits_of(asked(average_bits=3, fc=2), LAYERS, KEPT, coarse)
    assert bits["fc"] == 2 and bits["conv1"] >= 5 and bits["conv2"] >= 4
    empty = bits_of(asked(average_bits=3), LAYERS, KEPT | {"conv1": 0}, coarse)
    assert 20 * empty["conv2"] + 70 * empty["fc"] <= 270


def test_an_impossible_average_names_a_possible_one():
    with pytest.raises(InvalidPlan, match=r"5\.7 on the mean.*at least that") as error:
        bits_of(asked(average_bits=3.0, fc=7, conv1=4), LAYERS, KEPT, coarse)
    assert error.value.pointer == "/quantize/average_bits"
    possible = bits_of(asked(average_bits=5.7, fc=7, conv1=4), LAYERS, KEPT, coarse)
    assert possible == {"conv1": 4, "conv2": 2, "fc": 7}


def test_errors_of_real_layers():
    W = {x.name: given(i, x.weights)[0] * 10.0**i for i, x in enumerate(LAYERS)}
    masks = {k: w.abs() > w.abs().median() for k, w in W.items()}
    kept = {k: int(m.sum()) for k, m in masks.items()}
    bits = bits_of(asked(average_bits=3), LAYERS, kept, lambda k, b: squared_error(W[k], masks[k], b))
    assert bits["conv1"] <= bits["conv2"] <= bits["fc"]


# bits found in a file


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_levels_are_found_in_values(seed, dtype, bits):
    rng = np.random.default_rng(seed)
    top = 2 ** (bits - 1)
    k = rng.integers(1, top + 1, 400) * rng.choice([-1, 1], 400)
    k[:2] = top, 1  # so that no fewer bits do
    values = np.where(rng.random(400) < 0.3, k * rng.uniform(1e-4, 3), 0)
    values[:2] = k[:2] * (q := float(np.abs(values[values != 0] / k[values != 0])[0]))
    assert q and levels_in(values.astype(dtype).reshape(20, 20)) == bits


def test_rounding_of_other_orders_is_forgiven():
    k = np.arange(1, 9, dtype=np.float32)
    values = np.concatenate([np.float32(0.1234567) * k, np.nextafter(np.float32(0.1234567) * k, np.float32(9))])
    assert levels_in(values) == 4


def test_only_levels_that_are_taken_count():
    assert levels_in(np.array([0, 6, -6, 3], np.float32)) == 2
    assert levels_in(np.array([0, 0.3, -0.3], np.float32)) == 1
    assert levels_in(np.array([2, 3], np.float32)) == 3
    assert levels_in(np.array([127, 128], np.float32)) == 8
    assert levels_in(np.zeros((3, 3), np.float32)) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("size", [20, 500, 10_000])
def test_weights_that_take_any_value_are_no_level_set(dtype, size):
    values = np.random.default_rng(0).standard_normal(size).astype(dtype)
    assert levels_in(values) is None


def test_too_many_levels_and_what_is_no_number_are_none():
    assert levels_in(np.arange(1, 130, dtype=np.float32)) is None
    assert levels_in(np.array([1, np.nan], np.float32)) is None
    assert levels_in(np.array([1, np.inf], np.float32)) is None


@pytest.mark.parametrize("bits", range(2, 9))
def test_what_was_projected_is_found_again(bits):
    V, mask = given(5, 60, 60)
    assert levels_in(project(V, mask, bits).Z.numpy()) == bits
