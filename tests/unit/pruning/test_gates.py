"""Projections of gates against brute force: the box with a given sum, and the sphere through its corners."""

import pytest
import torch

from pruning.gates import box, sphere

X = [torch.randn(n, generator=torch.Generator().manual_seed(n)).double() * 2 for n in (1, 2, 3, 5, 40)]


@pytest.mark.parametrize("x", X)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_box_is_nearest_among_all_with_that_sum(x, share):
    """No exchange of a little between two places comes nearer: with a convex set that is the optimum."""
    total = share * len(x)
    z = box(x, total)
    assert z.min() >= 0 and z.max() <= 1 and float(z.sum()) == pytest.approx(total, abs=1e-4)
    distance, little = float((z - x).square().sum()), 1e-3
    for i in range(len(x)):
        for j in range(len(x)):
            moved = z.clone()
            moved[i], moved[j] = moved[i] + little, moved[j] - little
            if i != j and moved.min() >= 0 and moved.max() <= 1:
                assert float((moved - x).square().sum()) >= distance - 1e-6


@pytest.mark.parametrize("x", X)
def test_the_sphere_is_nearest_and_holds_the_corners(x):
    z = sphere(x)
    radius = len(x) ** 0.5 / 2
    assert float((z - 0.5).norm()) == pytest.approx(radius, rel=1e-5)
    assert float((z - x).norm()) == pytest.approx(abs(float((x - 0.5).norm()) - radius), abs=1e-5)
    corner = (x > 0).double()
    assert torch.allclose(sphere(corner), corner, atol=1e-6)


def test_from_its_centre_the_sphere_is_left_the_same_way_each_time():
    assert torch.allclose(sphere(torch.full((4,), 0.5)), torch.ones(4))


@pytest.mark.parametrize("project", [lambda x: box(x, 0.4 * len(x)), sphere])
def test_projections_are_idempotent(project):
    for x in X:
        assert torch.allclose(project(project(x)), project(x), atol=1e-5)
