"""Random changes of training images that leave their labels right, the same for the same step and seed."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SHIFT, CROP = 24, 8  # of an image's size, one part in so many

Change = Callable[[Tensor, np.random.Generator], Tensor]


def shift(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Moved by up to a 24th of its size; what comes in at the edge repeats it. x: (N, C, H, W)."""
    return _moved(x, rng, SHIFT, mirror=False)


def crop_flip(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Moved by up to an eighth of its size, and half of them mirrored. x: (N, C, H, W)."""
    return _moved(x, rng, CROP, mirror=True)


AUGMENTATIONS: dict[str, Change] = {"shift": shift, "crop_flip": crop_flip}


def _moved(x: Tensor, rng: np.random.Generator, part: int, mirror: bool) -> Tensor:
    n, _, height, width = x.shape
    rows, columns = (_places(size, max(size // part, 1) if size > 1 else 0, n, rng) for size in (height, width))
    if mirror:
        columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
    picked = (torch.from_numpy(np.ascontiguousarray(v)).to(x.device) for v in (rows[:, :, None], columns[:, None, :]))
    each = torch.arange(n, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[(each, *picked)].permute(0, 3, 1, 2)


def _places(size: int, most: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, size) where each row or column comes from."""
    moved = np.arange(size) + rng.integers(-most, most + 1, (n, 1))
    return moved.clip(0, size - 1)
