"""One hostile upload, and what numbers and bytes such uploads are made of."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pruning.analysis import Preprocess


@dataclass(frozen=True)
class Case:
    """A file as it is uploaded. name: what was done to it; format: onnx, or one of READERS."""

    name: str
    content: bytes
    format: str
    how: Preprocess = field(default_factory=Preprocess)


Files = Mapping[str, bytes]
Maker = Callable[[random.Random], Case]
Damage = Callable[[random.Random, bytes], bytes]

NUMBERS = (0, 1, 2, 3, 7, 255, 256, 65_535, 2**16, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 1)


def flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def splice(rng: random.Random, content: bytes) -> bytes:
    """A piece of it at another place of it."""
    begin, place = rng.randrange(len(content)), rng.randrange(len(content))
    piece = content[begin : begin + rng.choice((1, 4, 16, 200))]
    return content[:place] + piece + content[place + rng.choice((0, len(piece))) :]


def drop(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + content[place + rng.choice((1, 2, 4, 30)) :]


def fill(rng: random.Random, content: bytes) -> bytes:
    """A run of one byte: of 255, lengths become the largest there are."""
    place, length = rng.randrange(len(content)), rng.choice((1, 2, 4, 5, 9, 40))
    return content[:place] + bytes([rng.choice((0, 255, 127, 128))]) * length + content[place + length :]


def number(rng: random.Random, content: bytes) -> bytes:
    """A number of another size in place of whatever is there."""
    place, width = rng.randrange(len(content)), rng.choice((2, 4, 8))
    value = rng.choice(NUMBERS) % 2 ** (8 * width)
    return content[:place] + value.to_bytes(width, rng.choice(("little", "big"))) + content[place + width :]


DAMAGE: tuple[Damage, ...] = (flip, flip, cut, splice, drop, fill, number)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """One to three kinds of damage; never empty."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(DAMAGE)(rng, content) or b"\0"
    return content


def damaged_near(rng: random.Random, content: bytes, begin: int, end: int) -> bytes:
    """Damage between two places."""
    return content[:begin] + damaged(rng, content[begin:end] or b"\0") + content[end:]
