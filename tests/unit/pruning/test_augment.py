"""Augmentation against single images moved by hand."""

import numpy as np
import pytest
import torch

from pruning.augment import AUGMENTATIONS


def candidates(image: np.ndarray, most: int, mirror: bool) -> list[np.ndarray]:
    """All that an image may become."""
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (most, most), (most, most)), mode="edge")
    found = []
    for dy in range(2 * most + 1):
        for dx in range(2 * most + 1):
            moved = padded[:, dy : dy + height, dx : dx + width]
            found += [moved, moved[:, :, ::-1]] if mirror else [moved]
    return found


@pytest.mark.parametrize(("name", "most", "mirror"), [("shift", 1, False), ("crop_flip", 4, True)])
def test_each_image_is_moved_and_nothing_else(name, most, mirror, rng):
    x = rng.random((20, 2, 32, 32)).astype(np.float32)
    got = AUGMENTATIONS[name](torch.from_numpy(x), np.random.default_rng(0), 20, slice(20)).numpy()
    assert got.shape == x.shape and not np.array_equal(got, x)
    for before, after in zip(x, got, strict=True):
        assert any(np.array_equal(after, c) for c in candidates(before, most, mirror))
    for part in (slice(20), slice(0, 7), slice(7, 20)):  # whoever has an image
        again = AUGMENTATIONS[name](torch.from_numpy(x[part]), np.random.default_rng(0), 20, part).numpy()
        assert np.array_equal(got[part], again)
