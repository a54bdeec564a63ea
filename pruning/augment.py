"""Random changes of training images that leave their labels right, the same for the same step and seed.

x: (N, C, H, W), the `part` of a batch of `whole` images that is here: numbers are drawn for all of them, so that an
image is changed in the same way however many processes share the batch.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SHIFT, CROP = 24, 8  # of an image's size, one part in so many

Change = Callable[[Tensor, np.random.Generator, int, slice], Tensor]


def shift(x: Tensor, rng: np.random.Generator, whole: int, part: slice) -> Tensor:
    """Moved by up to a 24th of its size; what comes in at the edge repeats it."""
    return _moved(x, *_drawn(x, rng, whole, part, SHIFT, mirror=False))


def crop_flip(x: Tensor, rng: np.random.Generator, whole: int, part: slice) -> Tensor:
    """Moved by up to an eighth of its size, and half of them mirrored."""
    return _moved(x, *_drawn(x, rng, whole, part, CROP, mirror=True))


AUGMENTATIONS: dict[str, Change] = {"shift": shift, "crop_flip": crop_flip}


def _moved(x: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    picked = (torch.from_numpy(np.ascontiguousarray(v)).to(x.device) for v in (rows[:, :, None], columns[:, None, :]))
    each = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[(each, *picked)].permute(0, 3, 1, 2)


def _drawn(
    x: Tensor, rng: np.random.Generator, whole: int, part: slice, share: int, mirror: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(n, height) and (n, width): where the rows and columns of each image come from."""
    rows, columns = (_places(size, max(size // share, 1) if size > 1 else 0, whole, rng) for size in x.shape[2:])
    if mirror:
        columns = np.where(rng.random((whole, 1)) < 0.5, columns[:, ::-1], columns)
    return rows[part], columns[part]


def _places(size: int, most: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, size) where each row or column comes from."""
    moved = np.arange(size) + rng.integers(-most, most + 1, (n, 1))
    return moved.clip(0, size - 1)
