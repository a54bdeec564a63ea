"""Image files that harm: more pixels than bytes, chunks that swell, damage at every place."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harm.case import damaged, damaged_near
from benchmarks.harm.zips import zeros

PIXELS = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
FORMATS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PNG", "RGB", {}),
    ("PNG", "L", {}),
    ("PNG", "P", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "1", {}),
    ("PNG", "I;16", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "RGB", {"progressive": True, "optimize": True}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("BMP", "1", {}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"quality": 50}),
    ("PPM", "RGB", {}),
    ("PPM", "L", {}),
    ("PPM", "1", {}),
    ("GIF", "P", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {}),
    ("ICO", "RGBA", {}),
    ("TGA", "RGB", {}),
    ("PCX", "L", {}),
    ("DDS", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("SGI", "RGB", {}),
    ("EPS", "RGB", {}),
    ("PDF", "RGB", {}),
)
SIDES = (0, 1, 5791, 5793, 9000, 20_000, 60_000, 100_000, 2**31 - 1, 2**31, 2**32 - 1)


@cache
def written() -> tuple[bytes, ...]:
    """A good image in every format that this Pillow writes."""
    found = []
    for kind, mode, options in FORMATS:
        buffer = io.BytesIO()
        try:
            image = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode)
            (image.convert("I").convert(mode) if mode == "I;16" else image).save(buffer, kind, **options)
        except (KeyError, OSError, ValueError):  # a Pillow built without it
            continue
        found.append(buffer.getvalue())
    return tuple(found)


@cache
def animated(kind: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.roll(PIXELS, i, 0)) for i in range(4)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=10)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    """Of a PNG. length: as it says."""
    size = len(body) if length is None else length
    return struct.pack(">I", size) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 2, more: bytes = b"\0\0\0") -> bytes:
    """A PNG of these chunks behind its head."""
    head = struct.pack(">IIBB", width, height, depth, color) + more
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


def image_data(size: int) -> bytes:
    return chunk(b"IDAT", b"\x78\x9c" + zeros(size) + struct.pack(">HH", size % 65_521, 1))


def large(rng: random.Random) -> bytes:
    """Many pixels of nothing, with or without data for them."""
    width, height = rng.choice(SIDES), rng.choice(SIDES)
    size = rng.choice((100, 2**20, min(3 * width * height, 2**26)))
    data = image_data(size)
    color, depth = rng.choice(((2, 8), (0, 1), (0, 8), (6, 8), (3, 1), (2, 16)))
    return png(width, height, data, depth=depth, color=color, more=bytes((0, 0, rng.choice((0, 0, 1)))))


def widest(rng: random.Random) -> bytes:
    """As many pixels as are taken, in a small file."""
    width, height = rng.choice(((5792, 5792), (2**25, 1), (1, 2**25), (2**20, 32)))
    color, depth = rng.choice(((0, 1), (0, 8), (2, 8), (3, 8)))
    palette = [chunk(b"PLTE", bytes(768))] if color == 3 else []
    size = ((width * depth * (3 if color == 2 else 1) + 7) // 8 + 1) * height
    return png(width, height, *palette, image_data(size), depth=depth, color=color)


def texts(rng: random.Random) -> bytes:
    """Text, profiles and other chunks that swell when they are read."""
    swollen = b"\x78\x9c" + zeros(rng.choice((2**20, 2**23, 2**26)))
    kinds = (
        chunk(b"zTXt", b"a\0\0" + swollen),
        chunk(b"iTXt", b"a\0\1\0\0\0" + swollen),
        chunk(b"iCCP", b"a\0\0" + swollen),
        chunk(b"tEXt", b"a\0" + bytes(2**20)),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0\0\2\x0cacsp" + bytes(500))),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\3\xff\xff\xff\xff\0\6\0\0" * 50),
        chunk(b"acTL", struct.pack(">II", 2**31, 0)) + chunk(b"fcTL", bytes(26)),
        chunk(b"acTL", struct.pack(">II", 3, 0)) + chunk(b"fcTL", rng.randbytes(26)),
        chunk(b"tRNS", rng.randbytes(rng.choice((0, 1, 6, 300)))),
        chunk(b"PLTE", rng.randbytes(rng.choice((0, 1, 3, 769)))),
        chunk(b"gAMA", rng.randbytes(rng.choice((0, 3, 4)))),
        chunk(b"cHRM", rng.randbytes(rng.choice((0, 3, 32, 33)))),
        chunk(b"pHYs", rng.randbytes(rng.choice((0, 8, 9)))),
        chunk(b"sRGB", b""),
        chunk(b"IHDR", rng.randbytes(rng.choice((0, 5, 13)))),
        chunk(bytes(rng.choices(b"azAZ\0", k=4)), rng.randbytes(20)),
        chunk(b"tEXt", b"a\0b", rng.choice((0, 2**31 - 1, 2**31, 2**32 - 1))),
    )
    rows = zlib.compress(bytes(8 * 25))
    inner = [*rng.choices(kinds, k=rng.choice((1, 2, 60))), chunk(b"IDAT", rows)]
    if rng.random() < 0.3:
        inner.reverse()
    return png(8, 8, *inner, depth=8, color=rng.choice((0, 2, 2, 2, 3, 4, 6, 7)))


def segments(rng: random.Random) -> bytes:
    """Segments of a JPEG: sizes that lie, EXIF that turns, profiles in parts, thousands of scans."""
    good = next(c for c in written() if c[:2] == b"\xff\xd8")
    exif = b"Exif\0\0" + rng.choice((b"MM\0*", b"II*\0", b"XX")) + rng.randbytes(rng.choice((2, 30, 200)))
    turned = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    bodies = (
        (0xE1, exif),
        (0xE1, turned),
        (0xE2, b"ICC_PROFILE\0" + rng.randbytes(2) + rng.randbytes(60)),
        (0xE2, b"MPF\0II*\0" + rng.randbytes(60)),
        (0xED, b"Photoshop 3.0\x008BIM" + rng.randbytes(60)),
        (0xEE, b"Adobe" + rng.randbytes(8)),
        (0xFE, bytes(60_000)),
        (
            0xC0,
            struct.pack(">BHHB", 8, rng.choice((0, 8, 65_535)), rng.choice((8, 65_535)), 3)
            + b"\1\x22\0\2\x11\1\3\x11\1",
        ),
        (0xDB, rng.randbytes(65)),
        (0xC4, rng.randbytes(40)),
        (0xDD, b"\0\1"),
    )
    made = b""
    for marker, body in rng.choices(bodies, k=rng.choice((1, 2, 300))):
        length = len(body) + 2 if rng.random() < 0.9 else rng.choice((0, 1, 2, 65_535))
        made += bytes((0xFF, marker)) + struct.pack(">H", length) + body
    place = rng.choice((2, good.index(b"\xff\xda")))
    return good[:place] + made + good[place:]


def plain(rng: random.Random) -> bytes:
    """Netpbm: numbers in text, sizes that are none, comments without end."""
    magic = rng.choice((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF", b"Py", b"P0CMYK"))
    sides = (b"8", b"0", b"-8", b"99999", b"5792", b"9" * 30, b"\xb2", b"8" * 9, b"1_0", b" ")
    depth = rng.choice((b"255", b"65535", b"1", b"0", b"65536", b"-1", b"nan", b"1e9", b"inf"))
    comment = rng.choice((b"", b"# x\n", b"#" + b"y" * 10**6 + b"\n", b"#"))
    body = rng.choice((b"1 " * 200, b"0" * 200, rng.randbytes(200), b"", b"9" * 10**5, b"#" * 1000, b"-1 " * 200))
    return magic + b"\n" + comment + rng.choice(sides) + b" " + rng.choice(sides) + b"\n" + depth + b"\n" + body


def bitmap(rng: random.Random) -> bytes:
    """BMP: headers of many sizes, run lengths that lead out of the image."""
    size = rng.choice((12, 40, 40, 40, 52, 64, 108, 124, 0, 2**31))
    sides = [rng.choice((8, 8, 8, 0, -8, 5791, 60_000, 2**31 - 1, -(2**31))) for _ in range(2)]
    bits, packing = rng.choice((1, 4, 8, 8, 16, 24, 32, 0, 64)), rng.choice((0, 0, 1, 1, 2, 3, 4, 5, 9))
    head = struct.pack("<IiiHHIIiiII", size, *sides, 1, bits, packing, 0, 0, 0, rng.choice((0, 2, 256, 2**31)), 0)
    runs = rng.choice((b"\0\2\xff\xff" * 50, b"\xff\1" * 100, b"\0\xff" + bytes(255), b"\0\0" * 50, b"\0\1"))
    body = head + bytes(rng.choice((0, 12, 84, 1024))) + rng.choice((bytes(300), rng.randbytes(300), runs))
    return b"BM" + struct.pack("<IHHI", len(body) + 14, 0, 0, rng.choice((54, 54, 1078, 0, 2**31))) + body


def moving(rng: random.Random) -> bytes:
    content = animated(rng.choice(("GIF", "WEBP", "PNG")))
    return damaged(rng, content) if rng.random() < 0.7 else content


def damage(rng: random.Random) -> bytes:
    return damaged(rng, rng.choice(written()))


def head(rng: random.Random) -> bytes:
    content = rng.choice(written())
    return damaged_near(rng, content, 0, min(64, len(content)))


def other(rng: random.Random) -> bytes:
    """No image at all, or another one behind it."""
    return rng.choice(
        (b"", b"\0", b"<svg onload='x'/>", b"%!PS\n(evil) run", rng.randbytes(50), *written())
    ) + rng.choice((b"", rng.choice(written())))


PICTURES: tuple[Callable[[random.Random], bytes], ...] = (
    damage,
    damage,
    damage,
    head,
    head,
    large,
    widest,
    texts,
    segments,
    plain,
    bitmap,
    moving,
    other,
)
