import struct
import zipfile
import zlib

import numpy as np
import pytest

from pruning.analysis import Preprocess
from pruning.data.cache import Source, read
from pruning.data.shelf import Bounds, Shelf
from pruning.errors import DatasetMismatch, UnreadableDataset
from tests.conftest import save_npz

X, Y = np.zeros((4, 1, 2, 2)), np.arange(4)
GOOD = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y_test": None, "x_test": None}, "lacks x_test, y_test"),
        ({"x_val": X}, "x_val and y_val come together"),
        ({"y_train": Y[:3]}, "x_train holds 4 examples but y_train 3 labels"),
        ({"y_train": Y - 1}, "y_train holds the label -1"),
        ({"y_test": np.array([0.5] * 4)}, "targets of different kinds: y_train of int64 .* y_test of float64"),
        ({"y_test": np.eye(4)}, "targets of different"),
        ({"y_val": Y}, "x_val and y_val come together"),
        ({"x_train.a": X}, "x_train and x_train.a are both there"),
        ({"x_train": None, "x_train.a": X}, "the splits name different inputs"),
        ({"y_train": np.array(3)}, "y_train must hold numbers with the examples along axis 0"),
        ({"y_train": Y * np.nan, "y_test": Y * 1.5}, "y_train holds NaN"),
        ({"x_test": np.array(["a"] * 4)}, "x_test must hold numbers"),
        ({"x_test": X[:, :, :1]}, "different shapes"),
        ({"x_train": X * np.nan}, "x_train holds NaN"),
        ({"x_train": X + 1e300}, "x_train holds values beyond"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train is empty"),
        ({"x_train": X[:1], "y_train": Y[:1]}, "at least 2 examples"),
        ({"x_train": np.array([{}, {}, {}, {}], dtype=object)}, r"x_train holds Python objects \(pickles\)"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, says):
    path = tmp_path / "data.npz"
    np.savez(path, **{k: v for k, v in (GOOD | change).items() if v is not None})
    with pytest.raises(UnreadableDataset, match=says):
        read(Source(path))


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"GIF89a"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(UnreadableDataset, match="not an npz archive"):
        read(Source(path))


def test_a_truncated_or_damaged_archive_is_refused(tmp_path):
    path = save_npz(tmp_path / "data.npz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableDataset, match="not an npz archive, or a damaged one"):
        read(Source(path))
    path.write_bytes(content[:2000] + bytes(len(content) - 4000) + content[-2000:])
    with pytest.raises(UnreadableDataset):
        read(Source(path))


def test_members_that_are_no_arrays_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for k in GOOD:
            archive.writestr(f"{k}.npy", b"text")
    with pytest.raises(UnreadableDataset, match="is not a readable array"):
        read(Source(path))


def test_size_is_checked_before_anything_is_decoded(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x_train=np.zeros((4, 500_000)), y_train=Y, x_test=X, y_test=Y)
    assert path.stat().st_size < 100_000
    with pytest.raises(UnreadableDataset, match="when decompressed; at most 1,000,000"):
        read(Source(path, bounds=Bounds(bytes=1_000_000)))


def test_preprocessing_is_by_channel(tmp_path):
    x = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=[0, 1], x_test=x, y_test=[0, 1])
    preprocess = Preprocess(scale=0.5, mean=(1, 2, 3), std=(2, 4, 8))
    got = read(Source(tmp_path / "data.npz", preprocess=preprocess)).train.prepared(slice(None))["x"]
    expected = (x * 0.5 - np.array([1, 2, 3]).reshape(1, 3, 1, 1)) / np.array([2, 4, 8]).reshape(1, 3, 1, 1)
    assert got.dtype == np.float32 and np.allclose(got, expected)


def test_a_mean_for_other_channels_is_refused(tmp_path):
    split = read(Source(save_npz(tmp_path / "data.npz"), preprocess=Preprocess(mean=(1, 2, 3)))).train
    with pytest.raises(DatasetMismatch, match="mean and std have 3 values; the examples have 1 channels"):
        split.prepared(slice(0, 1))


def values(split):
    return split.prepared(slice(0, len(split)))["x"][:, 0]


def test_the_validation_split_is_seeded_and_apart(tmp_path):
    x = np.arange(100, dtype=np.float32).reshape(100, 1)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=[0] * 100, x_test=x, y_test=[0] * 100)
    dataset = read(Source(tmp_path / "data.npz"))
    train, val = dataset.with_validation(0.1, seed=3)
    assert len(val) == 10 and sorted([*values(train), *values(val)]) == list(range(100))
    assert np.array_equal(values(val), values(dataset.with_validation(0.1, seed=3)[1]))
    assert not np.array_equal(values(val), values(dataset.with_validation(0.1, seed=4)[1]))


def test_a_given_validation_split_is_used(tmp_path):
    np.savez(tmp_path / "data.npz", **GOOD, x_val=X[:2], y_val=Y[:2])
    train, val = read(Source(tmp_path / "data.npz")).with_validation(0.5, seed=0)
    assert (len(train), len(val)) == (4, 2)


def test_the_summary_says_what_is_there(tmp_path):
    summary = read(Source(save_npz(tmp_path / "data.npz"))).summary("npz")
    assert summary.classes == 3 and summary.splits["train"].examples == 200
    assert summary.splits["test"].shape == (1, 6, 6) and "val" not in summary.splits


def test_an_array_that_ends_before_it_should_is_refused(tmp_path):
    """The archive's sizes say more than there is, its sum is that of what there is."""
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **GOOD)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("x_train.npy")
        whole = archive.read("x_train.npy")
    half = whole[: len(whole) - X.nbytes // 2]
    packed = zlib.compressobj(wbits=-15)
    body = packed.compress(half) + packed.flush()
    said = struct.pack("<3L", zlib.crc32(half), len(body), info.file_size)
    for signature, offset in ((b"PK\1\2", 16), (b"PK\3\4", 14)):
        place = content.index(signature)
        content[place + offset : place + offset + 12] = said
    begin = content.index(b"x_train.npy") + len("x_train.npy") + 20  # zip64, which savez asks for
    content[begin : begin + len(body)] = body
    path.write_bytes(content)
    with pytest.raises(UnreadableDataset, match="x_train ends after"):
        read(Source(path))


@pytest.mark.parametrize("words", ["__import__('os')", "(" * 90, "{'descr': '<f4', 'shape': (" + "9" * 5000 + ",)}"])
def test_a_header_of_other_words_is_told_in_our_own(tmp_path, words):
    path = tmp_path / "data.npz"
    np.savez(path, **{k: v for k, v in GOOD.items() if k != "x_train"})
    head = words.encode() + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + X.tobytes())
    with pytest.raises(UnreadableDataset) as refusal:
        read(Source(path))
    said = "x_train is not a readable array: its header is damaged, or none that NumPy writes; save it again"
    assert str(refusal.value) == said


def test_an_axis_below_zero_is_refused(tmp_path):
    with pytest.raises(UnreadableDataset, match=r"x is empty: its shape is \(-2, -3\)"):
        Shelf(tmp_path).make("x", (-2, -3), "f4")
