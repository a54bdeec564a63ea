"""Images by Pillow: limited before they are decoded, brought to one size and colour, decoded by several threads."""

import io
import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from pruning.analysis import Preprocess
from pruning.data.shelf import Bounds
from pruning.errors import UnreadableDataset

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")
MODES = {"rgb": "RGB", "gray": "L"}
GRAY = ("1", "L", "LA")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
TOGETHER = 1 << 26  # encoded bytes that wait to be decoded
DECODED_TOGETHER = 1 << 28  # bytes that wait to be taken: an image of a kilobyte may become 100 MB
MOST_TOGETHER = 512
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)
Place = TypeVar("Place")


@dataclass(frozen=True)
class Encoded:
    """An image file; name is for sentences."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Decoder:
    """Turns images into uint8 arrays of one shape; size is (height, width)."""

    how: Preprocess
    bounds: Bounds
    size: tuple[int, int]
    color: str

    @classmethod
    def like(cls, first: Encoded, how: Preprocess, bounds: Bounds) -> "Decoder":
        """With the size and colour of the first image, where none were asked for."""
        image = _opened(first, bounds)
        color = how.color or ("gray" if image.mode in GRAY else "rgb")
        return cls(how, bounds, how.size or (image.height, image.width), color)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one decoded image: (channels, height, width), or (height, width, channels)."""
        channels = 3 if self.color == "rgb" else 1
        return (channels, *self.size) if self.how.layout == "nchw" else (*self.size, channels)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """Raises: UnreadableDataset: it is no image, too large, or unlike the first one."""
        image = _opened(encoded, self.bounds)
        if self.how.size is None and (image.height, image.width) != self.size:
            raise UnreadableDataset(
                f"{encoded.name} has {image.height} x {image.width} pixels, the first image {self.size[0]} x "
                f"{self.size[1]}: ask for a size, such as size={self.size[0]},{self.size[1]}"
            )
        if self.how.color is None and self.color == "gray" and image.mode not in GRAY:
            raise UnreadableDataset(f"{encoded.name} is in colour, the first image is not: ask for color=rgb or gray")
        try:
            return self.shaped(image)
        except DAMAGE as error:
            raise UnreadableDataset(f"{encoded.name} is damaged ({error}); remove it, or save it again") from error

    def shaped(self, image: Image.Image) -> np.ndarray:
        """An image in the size, colour and layout that are asked for."""
        image = image.convert(MODES[self.color])
        if (image.height, image.width) != self.size:
            resize = ImageOps.fit if self.how.fit == "crop" else Image.Image.resize
            image = resize(image, (self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(image).reshape(*self.size, -1)
        return pixels.transpose(2, 0, 1) if self.how.layout == "nchw" else pixels

    def decode_all(self, images: Iterable[tuple[Place, Encoded]]) -> Iterator[tuple[Place, np.ndarray]]:
        """Decode with a thread for each core, a bounded number of bytes at a time; the order is kept."""
        most = min(MOST_TOGETHER, max(1, DECODED_TOGETHER // math.prod(self.shape)))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for batch in _batches(images, most):
                decoded = pool.map(self.decode, (encoded for _, encoded in batch))
                yield from zip((place for place, _ in batch), decoded, strict=True)


def _opened(encoded: Encoded, bounds: Bounds) -> Image.Image:
    """The header is read, nothing is decoded."""
    try:
        image = Image.open(io.BytesIO(encoded.content), formats=FORMATS)
    except DAMAGE as error:
        raise UnreadableDataset(
            f"{encoded.name} is not an image of the kinds {', '.join(FORMATS)}, or a damaged one; remove it, or save "
            "it as JPEG or PNG"
        ) from error
    if image.width * image.height > bounds.pixels:
        raise UnreadableDataset(
            f"{encoded.name} has {image.width} x {image.height} pixels; at most {bounds.pixels:,} are taken: scale it"
        )
    if image.mode in DEEP:
        raise UnreadableDataset(f"{encoded.name} has more than 8 bits a channel; save it with 8, or use npz")
    return image


def _batches(images: Iterable[tuple[Place, Encoded]], most: int) -> Iterator[list[tuple[Place, Encoded]]]:
    batch: list[tuple[Place, Encoded]] = []
    size = 0
    for image in images:
        batch.append(image)
        size += len(image[1].content)
        if size >= TOGETHER or len(batch) >= most:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
