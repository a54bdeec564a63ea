"""A bomb of each kind over HTTP: rejected in a sentence, the service lives, nothing is left behind."""

import gzip
import re
import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from benchmarks.harm import idx, npz, parquet, pictures, tars, zips
from tests.conftest import Service
from tests.unit.pruning.onnx.hostile import HOSTILE


def images_of_many_pixels() -> bytes:
    """60,000 x 60,000 in two kilobytes."""
    image = pictures.png(60_000, 60_000, pictures.image_data(2**20))
    return zips.archive([zips.entry(f"{split}/a/x.png", image, True) for split in ("train", "test")])


def tar_without_end() -> bytes:
    """A member of 2^60 bytes that is no file, to be stepped over."""
    return gzip.compress(tars.member("train/a/x", type=b"Z", size=2**60))


def array_of_many_bytes() -> bytes:
    """64 GiB, as its header and the archive say."""
    head = npz.npy("|u1", False, (2**36,), b"")
    size = struct.pack("<HHQ", 1, 8, len(head) + 2**36)  # zip64
    return zips.archive([replace(zips.entry("x_train.npy", head), size=2**32 - 1, extra=size)])


def idx_of_many_images() -> bytes:
    content = gzip.compress(idx.idx((2**31, 28, 28), b""))
    return zips.archive([zips.entry(f"{idx.NAMES['x_train']}.gz", content)])


def table_of_missing_rows() -> bytes:
    """As many as it says would fill the disk."""
    table = parquet.table({"a": pa.FixedSizeListArray.from_arrays(np.zeros(30 * 2**20, np.int8), 2**20)})
    begin = len(table) - 8 - int.from_bytes(table[-8:-4], "little")
    said = table[begin:-8].replace(b"\x16\x3c", b"\x16\x3e")
    return zips.archive(
        [zips.entry(f"{split}.parquet", table[:begin] + said + table[-8:]) for split in ("train", "test")]
    )


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "ConstantOfShape": ("", HOSTILE["ConstantOfShape"], "elements"),
    "array": ("npz", array_of_many_bytes, r"the arrays take .* bytes when decompressed"),
    "pixels": ("imagefolder", images_of_many_pixels, "x.png is not an image of the kinds"),
    "tar": ("imagefolder", tar_without_end, "the archive's files take more than"),
    "idx": ("idx", idx_of_many_images, r"the arrays take .* bytes when decompressed"),
    "parquet": ("parquet", table_of_missing_rows, "train.parquet .* damaged"),
}


def test_bombs_are_rejected_and_leave_nothing(service: Service) -> None:
    cache, temporary = service.folder / "cache", service.folder / "tmp"
    decoded = set(cache.glob("*"))
    rows = {}
    for name, (format, make, _) in BOMBS.items():
        path = "/v1/datasets" if format else "/v1/models"
        response = service.http.post(path, content=make(), params={"format": format} if format else {})
        rows[name] = f"{path}/{response.json()['id']}"
    for name, path in rows.items():
        row = service.until(path, lambda r: r["status"] != "validating", 120)
        assert row["status"] == "rejected" and len(row["problems"]) == 1, name
        assert re.search(BOMBS[name][2], row["problems"][0]), row["problems"]
    service.until("/healthz", lambda _: not list(temporary.iterdir()), 10)
    assert set(cache.glob("*")) == decoded
