import zipfile

import numpy as np
import pytest

from pruning.analysis import Preprocess
from pruning.data import READERS
from pruning.data.npz import read_npz
from pruning.errors import DatasetMismatch, UnreadableDataset
from tests.conftest import save_npz

NONE = Preprocess()
X, Y = np.zeros((4, 1, 2, 2)), np.arange(4)
GOOD = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y_test": None, "x_test": None}, "lacks x_test, y_test"),
        ({"x_val": X}, "x_val and y_val come together"),
        ({"y_train": Y[:3]}, "x_train holds 4 examples but y_train 3 labels"),
        ({"y_train": Y - 1}, "y_train holds the label -1"),
        ({"y_test": np.array([0.5] * 4)}, "y_test must hold one integer label"),
        ({"y_test": np.eye(4)}, "y_test must hold one integer label"),
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
        read_npz(path, NONE)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"GIF89a"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(UnreadableDataset, match="not an npz archive"):
        read_npz(path, NONE)


def test_a_truncated_or_damaged_archive_is_refused(tmp_path):
    path = save_npz(tmp_path / "data.npz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableDataset, match="not an npz archive, or a damaged one"):
        read_npz(path, NONE)
    path.write_bytes(content[:2000] + bytes(len(content) - 4000) + content[-2000:])
    with pytest.raises(UnreadableDataset):
        read_npz(path, NONE)


def test_members_that_are_no_arrays_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for k in GOOD:
            archive.writestr(f"{k}.npy", b"text")
    with pytest.raises(UnreadableDataset, match="is not a readable array"):
        read_npz(path, NONE)


def test_size_is_checked_before_anything_is_decoded(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x_train=np.zeros((4, 500_000)), y_train=Y, x_test=X, y_test=Y)
    assert path.stat().st_size < 100_000
    with pytest.raises(UnreadableDataset, match="when decompressed; at most 1,000,000"):
        read_npz(path, NONE, most_bytes=1_000_000)


def test_preprocessing_is_by_channel(tmp_path):
    x = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=[0, 1], x_test=x, y_test=[0, 1])
    preprocess = Preprocess(scale=0.5, mean=(1, 2, 3), std=(2, 4, 8))
    got = read_npz(tmp_path / "data.npz", preprocess).train.prepared(slice(None))
    expected = (x * 0.5 - np.array([1, 2, 3]).reshape(1, 3, 1, 1)) / np.array([2, 4, 8]).reshape(1, 3, 1, 1)
    assert got.dtype == np.float32 and np.allclose(got, expected)


def test_a_mean_for_other_channels_is_refused(tmp_path):
    split = read_npz(save_npz(tmp_path / "data.npz"), Preprocess(mean=(1, 2, 3))).train
    with pytest.raises(DatasetMismatch, match="mean and std have 3 values; the examples have 1 channels"):
        split.prepared(slice(0, 1))


def test_the_validation_split_is_seeded_and_apart(tmp_path):
    x = np.arange(100, dtype=np.float32).reshape(100, 1)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=[0] * 100, x_test=x, y_test=[0] * 100)
    dataset = read_npz(tmp_path / "data.npz", NONE)
    train, val = dataset.with_validation(0.1, seed=3)
    assert len(val) == 10 and sorted([*train.x[:, 0], *val.x[:, 0]]) == list(range(100))
    assert np.array_equal(val.x, dataset.with_validation(0.1, seed=3)[1].x)
    assert not np.array_equal(val.x, dataset.with_validation(0.1, seed=4)[1].x)


def test_a_given_validation_split_is_used(tmp_path):
    np.savez(tmp_path / "data.npz", **GOOD, x_val=X[:2], y_val=Y[:2])
    train, val = read_npz(tmp_path / "data.npz", NONE).with_validation(0.5, seed=0)
    assert (len(train), len(val)) == (4, 2)


def test_the_summary_says_what_is_there(tmp_path):
    summary = READERS["npz"](save_npz(tmp_path / "data.npz"), NONE).summary("npz")
    assert summary.classes == 3 and summary.splits["train"].examples == 200
    assert summary.splits["test"].shape == (1, 6, 6) and "val" not in summary.splits
