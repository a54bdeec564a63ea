"""The same examples in every format are the same data set, and make the same pruned file."""

import gzip
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruning.analysis import Preprocess
from pruning.data import READERS
from pruning.data.cache import Source, read
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from tests.conftest import bytes_of_rows, folders, pack, png
from tests.unit.pruning.test_pipeline import SMALL, Recorder

NAMES = ["class0", "class1", "class2"]
SCALED = Preprocess(scale=1 / 255)


def labels(split):
    return split.answers(slice(0, len(split))).tolist()


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def parquet(table: dict, features: dict | None = None) -> bytes:
    made = pa.table(table)
    if features:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = pa.BufferOutputStream()
    pq.write_table(made, sink, row_group_size=50)
    return sink.getvalue().to_pybytes()


def as_npz(path, arrays):
    np.savez(path, **{k: v[:, None] if k.startswith("x") else v for k, v in arrays.items()})
    return path


def as_imagefolder(path, arrays):
    return pack(path.with_suffix(".zip"), {f"top/{k}": v for k, v in folders(arrays).items()} | {"top/READ.ME": b"x"})


def as_tar(path, arrays):
    return pack(path.with_suffix(".gz"), folders(arrays) | {"._junk/train/a.png": b"", "__MACOSX/train/a/b.png": b""})


def as_idx(path, arrays):
    names = {"train": "train", "test": "t10k"}
    files = {f"MNIST/raw/{n}-images-idx3-ubyte.gz": idx(arrays[f"x_{s}"]) for s, n in names.items()}
    files |= {f"MNIST/raw/{n}-labels-idx1-ubyte.gz": idx(arrays[f"y_{s}"]) for s, n in names.items()}
    return pack(path.with_suffix(".tar"), files)


def as_images_in_parquet(path, arrays):
    features = {"label": {"names": NAMES, "_type": "ClassLabel"}}

    def table(split, part):
        images = [{"bytes": png(x), "path": None} for x in arrays[f"x_{split}"][part]]
        return parquet({"image": images, "label": arrays[f"y_{split}"][part]}, features)

    first, second = slice(0, 70), slice(70, None)
    return pack(
        path.with_suffix(".zip"),
        {
            "data/train-00000-of-00002.parquet": table("train", first),
            "data/train-00001-of-00002.parquet": table("train", second),
            "data/test-00000-of-00001.parquet": table("test", slice(None)),
        },
    )


def as_lists_in_parquet(path, arrays):
    files = {
        f"{s}/0000.parquet": parquet({"pixels": arrays[f"x_{s}"][:, None].tolist(), "label": arrays[f"y_{s}"]})
        for s in ("train", "test")
    }
    return pack(path.with_suffix(".tar"), files)


WRITERS = {
    "npz": ("npz", as_npz),
    "imagefolder": ("imagefolder", as_imagefolder),
    "imagefolder in tar": ("imagefolder", as_tar),
    "idx": ("idx", as_idx),
    "parquet": ("parquet", as_images_in_parquet),
    "parquet of lists": ("parquet", as_lists_in_parquet),
}


def test_every_format_is_written_here():
    assert {format for format, _ in WRITERS.values()} == set(READERS)


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_examples_in_every_format(tmp_path, name):
    arrays, (format, write) = bytes_of_rows(), WRITERS[name]
    dataset = read(Source(write(tmp_path / "data.npz", arrays), format, SCALED), tmp_path / "cache")
    for split in ("train", "test"):
        got = getattr(dataset, split)
        assert np.array_equal(got.answers(slice(0, len(got))), arrays[f"y_{split}"])
        expected = arrays[f"x_{split}"][:, None].astype(np.float32) * np.float32(1 / 255)
        assert np.array_equal(got.prepared(slice(0, len(got)))["x"], expected)
    summary = dataset.summary(format)
    assert (summary.format, summary.classes, summary.targets) == (format, 3, "classes")
    assert summary.splits["train"].shape == (1, 6, 6) and summary.splits["train"].examples == 120
    has_names = name in ("imagefolder", "imagefolder in tar", "parquet")
    assert summary.class_names == (tuple(NAMES) if has_names else ())


def test_one_pruned_file_from_every_format(tiny, tmp_path):
    arrays, plan = bytes_of_rows(200), Plan.model_validate(SMALL)
    made = set()
    for name in ("npz", "imagefolder", "idx", "parquet"):
        format, write = WRITERS[name]
        folder = tmp_path / name
        folder.mkdir()
        order = Order(tiny, write(folder / "data.npz", arrays), plan, format, SCALED, cache=tmp_path / "cache")
        delivery = prune(order, Recorder())
        assert delivery.report.accuracy.pruned > 0.5
        made.add(delivery.files["pruned.onnx"])
    assert len(made) == 1
