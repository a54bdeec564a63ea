"""Zip or tar archives of images in folders: train/CLASS/x.jpg, test/..., and val/... if there.

Without folders of classes, train/x.jpg, there are no labels.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pruning.analysis import Preprocess
from pruning.data.archive import Member, members, told
from pruning.data.images import Decoder, Encoded
from pruning.data.shelf import Bounds, Shelf
from pruning.data.splits import NAMES
from pruning.errors import UnreadableDataset

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")
LAYOUT = "pack the folders train/CLASS/*.jpg and test/CLASS/*.jpg (and val/CLASS/*.jpg, if you have it)"


@dataclass(frozen=True)
class Place:
    """Where an image belongs; label: its folder, None: none."""

    split: str
    label: str | None


def read_imagefolder(path: Path, how: Preprocess, shelf: Shelf) -> None:
    """Two walks through the archive: what is there, then decoding it in its order.

    Raises: UnreadableDataset: what is wrong with the archive, or with an image.
    """
    counts, decoder = _look(path, how, shelf.bounds)
    classes = _classes(counts, shelf.bounds)
    sizes = {split: sum(n for p, n in counts.items() if p.split == split) for split in ("train", "test", "val")}
    for split, n in sizes.items():
        if n:
            shelf.make(f"x_{split}", (n, *decoder.shape), "uint8")
            if classes:
                shelf.make(f"y_{split}", (n,), "int64")
    _decode(path, decoder, {name: i for i, name in enumerate(classes)}, shelf)
    shelf.class_names = tuple(classes)


def _look(path: Path, how: Preprocess, bounds: Bounds) -> tuple[Counter[Place], Decoder]:
    """How many images there are of each split and class, and how to decode them."""
    counts: Counter[Place] = Counter()
    decoder: Decoder | None = None
    for place, member in _images(path, bounds):
        counts[place] += 1
        decoder = decoder or Decoder.like(_content(member, bounds), how, bounds)
    missing = [split for split in ("train", "test") if split not in {p.split for p in counts}]
    if decoder is None or missing:
        raise UnreadableDataset(f"the archive has no images below {' and '.join(f'{s}/' for s in missing)}; {LAYOUT}")
    return counts, decoder


def _classes(counts: Counter[Place], bounds: Bounds) -> list[str]:
    """Sorted, over all splits; empty: no image is in a folder of a class."""
    labels = {p.label for p in counts}
    if None in labels and len(labels) > 1:
        raise UnreadableDataset(f"some images lie in folders of classes and others do not; {LAYOUT}")
    if len(labels) > bounds.classes:
        raise UnreadableDataset(f"the images lie in more than {bounds.classes:,} folders; {LAYOUT}")
    return sorted(label for label in labels if label is not None)


def _decode(path: Path, decoder: Decoder, classes: dict[str, int], shelf: Shelf) -> None:
    found = ((place, _content(member, shelf.bounds)) for place, member in _images(path, shelf.bounds))
    rows: Counter[str] = Counter()
    for place, pixels in decoder.decode_all(found):
        row = rows[place.split]
        rows[place.split] += 1
        shelf.arrays[f"x_{place.split}"][row] = pixels
        if place.label is not None:
            shelf.arrays[f"y_{place.split}"][row] = classes[place.label]


def _images(path: Path, bounds: Bounds) -> Iterator[tuple[Place, Member]]:
    for member in members(path, bounds):
        place = _place(member.parts)
        if place is not None and member.name.lower().endswith(SUFFIXES):
            yield place, member


def _place(parts: tuple[str, ...]) -> Place | None:
    """The split is the first folder, or the one below it; the class is the next."""
    for depth, folder in enumerate(parts[:-1][:2]):
        if split := NAMES.get(folder.lower()):
            return Place(split, parts[depth + 1] if len(parts) > depth + 2 else None)
    return None


def _content(member: Member, bounds: Bounds) -> Encoded:
    if member.size > bounds.member_bytes:
        raise UnreadableDataset(
            f"{member.name} takes {member.size:,} bytes; at most {bounds.member_bytes:,} are taken for an image"
        )
    with told(f"{member.name} cannot be read"), member.open() as file:
        return Encoded(member.name, file.read())
