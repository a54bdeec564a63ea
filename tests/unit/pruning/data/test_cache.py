"""Decoded once, mapped into memory, bounded, and never taken from under a reader."""

import os
import subprocess
import sys

import numpy as np
import pytest

from pruning.analysis import Preprocess
from pruning.data import READERS
from pruning.data.cache import Source, read
from pruning.data.shelf import Bounds
from pruning.errors import UnreadableDataset
from pruning.folders import trim
from tests.conftest import HOUSE, save_npz


@pytest.fixture
def source(tmp_path):
    return Source(save_npz(tmp_path / "data.npz"))


@pytest.fixture
def decoded(monkeypatch):
    """Files that a reader was called for."""
    calls, reader = [], READERS["npz"]

    def counting(path, how, shelf):
        calls.append(path)
        reader(path, how, shelf)

    monkeypatch.setitem(READERS, "npz", counting)
    return calls


def age(cache, seconds):
    for folder in cache.iterdir():
        os.utime(folder, (folder.stat().st_atime, folder.stat().st_mtime - seconds))


def test_a_second_read_does_not_decode(source, tmp_path, decoded):
    first, second = (read(source, tmp_path / "cache") for _ in range(2))
    assert decoded == [source.path]
    assert isinstance(second.train.x["x"], np.memmap) and not second.train.x["x"].flags.writeable
    assert np.array_equal(first.train.x["x"], read(source).train.x["x"])


def test_what_is_done_to_each_batch_needs_no_other_copy(source, tmp_path, decoded):
    read(source, tmp_path / "cache")
    read(Source(source.path, preprocess=Preprocess(scale=0.5, mean=(1,))), tmp_path / "cache")
    assert len(decoded) == 1
    read(Source(source.path, preprocess=Preprocess(layout="nhwc")), tmp_path / "cache")
    assert len(decoded) == 2


def test_a_refused_data_set_leaves_nothing(tmp_path):
    path = save_npz(tmp_path / "data.npz", y_train=np.zeros(3, int))
    with pytest.raises(UnreadableDataset):
        read(Source(path), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_is_not_whole_is_decoded_again(source, tmp_path, decoded):
    cache = tmp_path / "cache"
    del decoded[:]
    found = read(source, cache)
    folder = next(cache.iterdir())
    del found
    (folder / "0.npy").unlink()
    assert len(read(source, cache).train) == 200
    assert len(decoded) == 2


def test_the_least_recently_used_goes_first(tmp_path):
    cache = tmp_path / "cache"
    sources = [Source(save_npz(tmp_path / f"{n}.npz", n)) for n in (100, 110, 120)]
    for source in sources:
        read(source, cache)
        age(cache, 10)
    read(sources[0], cache)
    size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
    trim([cache], size - 1)
    left = {len(np.load(f / "0.npy", mmap_mode="r")) for f in cache.iterdir()}
    assert left == {100, 120}
    trim([cache], 0)
    assert list(cache.iterdir()) == []


def test_what_is_read_is_not_removed(source, tmp_path):
    cache = tmp_path / "cache"
    held = read(source, cache)
    bound = held.train.subset(np.arange(3))
    trim([cache], 0)
    assert len(list(cache.iterdir())) == 1 and len(bound) == 3
    del held, bound
    trim([cache], 0)
    assert list(cache.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    cache = tmp_path / "cache"
    (cache / "incoming-abc").mkdir(parents=True)
    (cache / "incoming-abc" / "0.npy").write_bytes(b"half")
    trim([cache], 10**9)
    assert len(list(cache.iterdir())) == 1, "it may have been made just now"
    age(cache, 100)
    trim([cache], 10**9)
    assert list(cache.iterdir()) == []


def test_two_processes_may_decode_at_once(source, tmp_path):
    code = (
        "import sys, pathlib; from pruning.data.cache import Source, read; "
        "print(len(read(Source(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])).train))"
    )
    command = [sys.executable, "-c", code, str(source.path), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in running] == ["200", "200"]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_full_disk_is_a_sentence(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UnreadableDataset, match="there is no room on the disk for the"):
        read(source, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_arrays_saved_by_column_are_the_same(tmp_path):
    x = np.arange(24.0).reshape(2, 3, 4)
    np.savez(tmp_path / "data.npz", x_train=np.asfortranarray(x), x_test=x, y_train=[0, 1], y_test=[0, 1])
    assert np.array_equal(read(Source(tmp_path / "data.npz"), tmp_path / "cache").train.x["x"], x)


def test_bounds_hold_for_all_arrays_together(source):
    with pytest.raises(UnreadableDataset, match="at most 10,000 are taken"):
        read(Source(source.path, bounds=Bounds(bytes=10_000)))
