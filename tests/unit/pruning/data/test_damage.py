"""Whatever is done to a file, reading it ends in a data set or in a sentence."""

import gzip
import tarfile

import numpy as np
import pytest

from pruning.data.archive import members
from pruning.data.cache import Source, read
from pruning.data.shelf import Bounds
from pruning.errors import UnreadableDataset
from tests.conftest import bytes_of_rows, pack, png
from tests.unit.pruning.data.test_formats import WRITERS

TRIES = 60


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_bytes_end_in_a_sentence(tmp_path, name):
    rng, (format, write) = np.random.default_rng(0), WRITERS[name]
    path = write(tmp_path / "data.npz", bytes_of_rows(12))
    content = path.read_bytes()
    refused = 0
    for _ in range(TRIES):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 8):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(1, len(content))] if rng.random() < 0.3 else damaged)
        try:
            read(Source(path, format, bounds=Bounds(bytes=10**7)))
        except UnreadableDataset as error:
            refused += 1
            assert 20 < len(str(error)) < 1000
    assert refused > TRIES / 2


def test_names_that_are_no_text_are_escaped(tmp_path):
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as archive:
        for name in ("train/caf\xe9/a.png", "train/x\ny/b.png"):
            archive.addfile(tarfile.TarInfo(name))
    assert [m.name for m in members(path, Bounds())] == [r"train/caf\udce9/a.png", r"train/x\u000ay/b.png"]


def test_names_without_end_are_refused(tmp_path):
    with pytest.raises(UnreadableDataset, match=r"the name train/aaaa.*\.\.\., which is too long; shorten it"):
        list(members(pack(tmp_path / "data.zip", {f"train/{'a' * 5000}/x.png": b""}), Bounds()))


def test_folders_without_end_are_refused(tmp_path):
    files = {f"{s}/{i}/x.png": png(np.zeros((2, 2), np.uint8)) for s in ("train", "test") for i in range(5)}
    with pytest.raises(UnreadableDataset, match="the images lie in more than 4 folders"):
        read(Source(pack(tmp_path / "data.zip", files), "imagefolder", bounds=Bounds(classes=4)))


def tar(path, *headers: tarfile.TarInfo, content: bytes = b""):
    """Headers as they are, then content, squeezed."""
    blocks = b"".join(h.tobuf(tarfile.GNU_FORMAT) for h in headers)
    path.write_bytes(gzip.compress(blocks + content + bytes(1024)))
    return path


def header(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("kind", [b"Z", b"V", b"0"])
def test_a_way_to_the_next_member_without_end_is_not_walked(tmp_path, kind):
    """tarfile steps over what is no file in pieces of 10 kB, where there is nothing left too: for years."""
    path = tar(tmp_path / "data.tar.gz", header("train/a/x.png", type=kind, size=2**60))
    with pytest.raises(UnreadableDataset, match=r"the archive's files take more than 1,000,000 bytes.*; take fewer"):
        list(members(path, Bounds(bytes=10**6)))


def test_members_that_are_no_files_are_counted(tmp_path):
    path = tar(tmp_path / "data.tar.gz", *[header("train/a", type=tarfile.DIRTYPE)] * 20)
    with pytest.raises(UnreadableDataset, match="more than 10 files"):
        list(members(path, Bounds(members=10)))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_long_notes_of_a_header_are_not_read(tmp_path, kind):
    path = tar(tmp_path / "data.tar.gz", header("notes", type=kind, size=2**24), content=bytes(2**24))
    with pytest.raises(UnreadableDataset, match=r"not a zip, npz or tar archive, .* \(a header of 16,777,216 bytes\)"):
        list(members(path, Bounds()))


def test_sizes_below_zero_do_not_make_room(tmp_path):
    path = tar(tmp_path / "data.tar.gz", header("train/a/x.png", size=-(2**50)))
    with pytest.raises(UnreadableDataset, match="damaged"):
        list(members(path, Bounds()))


@pytest.mark.parametrize("format", ["idx", "parquet", "imagefolder"])
def test_a_file_without_a_name_is_passed_over(tmp_path, format):
    path = tar(tmp_path / "data.tar.gz", header("."), header("./"))
    with pytest.raises(UnreadableDataset, match=r"the archive (holds no IDX files|needs Parquet files|has no images)"):
        read(Source(path, format))
