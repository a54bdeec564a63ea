"""Archives of images: one image that harms, or an archive that does."""

import gzip
import random
from functools import cache

from benchmarks.harm import pictures, tars, zips
from benchmarks.harm.case import Case, Files, damaged
from pruning.analysis import Preprocess

NAMES = ("train/cat/a.png", "train/dog/b.jpg", "test/cat/c.png", "test/dog/d.png")
HOWS = (
    Preprocess(),
    Preprocess(),
    Preprocess(size=(4, 4)),
    Preprocess(size=(5, 3), fit="crop", color="gray"),
    Preprocess(color="rgb"),
    Preprocess(layout="nhwc"),
)


@cache
def good() -> Files:
    return dict.fromkeys(NAMES, pictures.png(8, 8, pictures.image_data(8 * 25)))


def packed(rng: random.Random, files: Files) -> bytes:
    if rng.random() < 0.7:
        return zips.archive(zips.entries_of(files, False))
    content = tars.whole(files) + bytes(1024)
    return content if rng.random() < 0.5 else gzip.compress(content, 1, mtime=0)


def picture(rng: random.Random) -> Case:
    """First, where size and colour are taken from it, or later."""
    make = rng.choice(pictures.PICTURES)
    name = rng.choice((*NAMES, "train/cat/z.webp", "train/cat/z.bmp", "test/cat/z.ppm", "train/cat/z.jpeg"))
    return Case(f"image {make.__name__}", packed(rng, {**good(), name: make(rng)}), "imagefolder", rng.choice(HOWS))


def many_large(rng: random.Random) -> Case:
    """Images of as many pixels as are taken, dozens of them in a file of a megabyte."""
    content = pictures.widest(rng)
    files = {f"{rng.choice(('train', 'test'))}/a/{i}.png": content for i in range(rng.choice((2, 10)))}
    return Case(
        "", packed(rng, {**files, "train/a/x.png": content, "test/a/x.png": content}), "imagefolder", rng.choice(HOWS)
    )


def names(rng: random.Random) -> Case:
    """Folders that are strange, the same but for their case, or thousands."""
    image = good()[NAMES[0]]
    folders = (
        "CAT",
        "cat",
        "cat ",
        "..a",
        "con",
        "a\u202e",
        "\u00e9",
        "e\u0301",
        "\U0001f600",
        "a\tb",
        "'; --",
        "<b>",
        "a" * 900,
    )
    files = {f"{s}/{f}/{i}.png": image for i, f in enumerate(rng.sample(folders, 4)) for s in ("train", "TEST", "test")}
    if rng.random() < 0.2:
        files |= {f"train/{i}/x.png": image for i in range(400)}
    return Case("", packed(rng, files), "imagefolder")


def zip_sin(rng: random.Random) -> Case:
    name, content = zips.sinful(rng, good())
    return Case(name, content, "imagefolder")


def tar_sin(rng: random.Random) -> Case:
    name, content = tars.sinful(rng, good())
    return Case(name, content, "imagefolder")


def damage(rng: random.Random) -> Case:
    return Case("", damaged(rng, packed(rng, good())), "imagefolder")


IMAGES = (*[picture] * 49, many_large)
ARCHIVES = (names, zip_sin, zip_sin, tar_sin, tar_sin, damage)
