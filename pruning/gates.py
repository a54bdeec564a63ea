"""Projections on the sets between which a gate in {0, 1} lies: a box with a given sum, and a sphere.

{0, 1}^m is where the box [0, 1]^m meets the sphere around 1/2 through its corners.
Source: Lee & Lee 2022, joint pruning of connections and neurons; Wu & Ghanem 2018, "lp-Box ADMM".
"""

import torch
from torch import Tensor

HALVINGS = 100


def box(x: Tensor, total: float) -> Tensor:
    """Argmin ||z - x|| over {z in [0, 1]^m: sum(z) = total}: clip(x - tau, 0, 1), tau found by bisection.

    Args: x: (m,); total: 0 to m.
    """
    low, high = x.min() - 1.0, x.max()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if (x - middle).clamp(0, 1).sum() > total:
            low = middle
        else:
            high = middle
    return (x - (low + high) / 2).clamp(0, 1)


def sphere(x: Tensor) -> Tensor:
    """Argmin ||z - x|| over {z: ||z - 1/2||^2 = m / 4}; from its centre towards (1, ..., 1). Args: x: (m,)."""
    away = x - 0.5
    length = away.norm()
    away, length = (away, length) if length > 0 else (torch.ones_like(x), x.new_tensor(len(x)).sqrt())
    return 0.5 + away / length * (len(x) ** 0.5 / 2)
