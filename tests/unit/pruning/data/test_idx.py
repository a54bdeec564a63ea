import gzip
import struct

import numpy as np
import pytest

from pruning.analysis import Preprocess
from pruning.data.cache import Source, read
from pruning.data.idx import _pieces
from pruning.data.shelf import Bounds
from pruning.errors import UnreadableDataset
from tests.conftest import pack
from tests.unit.pruning.data.test_formats import idx, labels

X, Y = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5), np.array([0, 1, 2])
GOOD = {
    "train-images-idx3-ubyte.gz": idx(X),
    "train-labels-idx1-ubyte.gz": idx(Y),
    "t10k-images-idx3-ubyte.gz": idx(X),
    "t10k-labels-idx1-ubyte.gz": idx(Y),
}
NAME = "train-images-idx3-ubyte.gz"


def dataset(tmp_path, files, suffix=".zip", bounds=Bounds(), **how):
    return read(Source(pack(tmp_path / f"data{suffix}", files), "idx", Preprocess(**how), bounds))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".gz"])
def test_packed_or_not_in_any_archive(tmp_path, suffix):
    plain = {k.removesuffix(".gz").replace("-idx", ".idx"): gzip.decompress(v) for k, v in GOOD.items()}
    for files in (GOOD, plain):
        found = dataset(tmp_path, files, suffix)
        assert np.array_equal(found.train.x["x"], X[:, None]) and labels(found.test) == list(Y)


def test_images_are_brought_to_the_size_that_a_net_takes(tmp_path):
    assert dataset(tmp_path, GOOD, size=(8, 8), color="rgb").train.x["x"].shape == (3, 3, 8, 8)
    assert dataset(tmp_path, GOOD, layout="nhwc").train.x["x"].shape == (3, 4, 5, 1)


def test_numbers_other_than_bytes(tmp_path):
    values = np.array([[1.5, -2], [3, 4]], ">f4")
    file = struct.pack(">BBBBII", 0, 0, 0x0D, 2, 2, 2) + values.tobytes()
    files = {f"{s}-images-idx2-ubyte": file for s in ("train", "test")}
    found = dataset(tmp_path, files)
    assert np.array_equal(found.train.prepared(slice(0, 2))["x"], values) and found.train.y is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({NAME: b"\0\0"}, "train-images-idx3-ubyte.gz is damaged or truncated"),
        ({NAME: gzip.compress(b"text")}, "train-images-idx3-ubyte.gz is not an IDX file"),
        ({NAME: gzip.compress(b"\0\0\x08\x03\0\0")}, "it ends in its header"),
        ({NAME: idx(X)[:-20]}, "train-images-idx3-ubyte.gz is damaged or truncated"),
        ({NAME: gzip.compress(gzip.decompress(idx(X))[:-1])}, "holds fewer values than its header says"),
        ({"raw/" + NAME: idx(X)}, "the archive holds x_train twice"),
        ({"t10k-images-idx3-ubyte.gz": None}, "the archive lacks x_test"),
        (dict.fromkeys(GOOD) | {"README": b"x"}, "holds no IDX files: pack train-images-idx3-ubyte.gz"),
        ({NAME: gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 5, 0, 2**31))}, "images of 0 x 2147483648 pixels"),
        ({NAME: gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 0, 28, 28))}, "x_train is empty"),
        (
            {NAME: gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 28, 28))},
            r"the arrays take [\d,]+ bytes when decompressed; at most",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, says):
    with pytest.raises(UnreadableDataset, match=says):
        dataset(tmp_path, {k: v for k, v in (GOOD | change).items() if v is not None})


def test_large_images_are_read_one_after_the_other():
    """4,096 of them at once were 128 GB."""
    assert list(_pieces((3, 8192, 8192), np.dtype("u1"))) == [(0, 1), (1, 1), (2, 1)]
    assert list(_pieces((2**24 + 5,), np.dtype("u1"))) == [(0, 2**24), (2**24, 5)]
