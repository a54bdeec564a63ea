import io
import tarfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pruning.analysis import Preprocess
from pruning.data import images
from pruning.data.cache import Source, read
from pruning.data.images import Decoder, Encoded
from pruning.data.shelf import Bounds
from pruning.errors import UnreadableDataset
from tests.conftest import pack, png
from tests.unit.pruning.data.test_formats import labels

A, B = np.full((4, 6, 3), 10, np.uint8), np.full((4, 6, 3), 200, np.uint8)
GOOD = {
    "train/cat/a.png": png(A),
    "train/dog/b.png": png(B),
    "test/cat/c.png": png(A),
    "test/dog/d.png": png(B),
}


def dataset(tmp_path, files, suffix=".zip", bounds=Bounds(), **how):
    path = pack(tmp_path / f"data{suffix}", files)
    return read(Source(path, "imagefolder", Preprocess(**how), bounds))


def first(found):
    return found.train.prepared(slice(0, 1))["x"][0]


def huge_png(side: int) -> bytes:
    """A header that promises side x side pixels, and nothing behind it."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(A).save(buffer, "GIF")
    return buffer.getvalue()


def deep_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".gz"])
def test_folders_are_classes_over_all_splits(tmp_path, suffix):
    found = dataset(tmp_path, GOOD | {"validation/ant/e.png": png(A)}, suffix)
    assert found.class_names == ("ant", "cat", "dog")
    assert {k: labels(s) for k, s in found.splits.items()} == {"train": [1, 2], "val": [0], "test": [1, 2]}


def test_layout_and_colour(tmp_path):
    assert first(dataset(tmp_path, GOOD)).shape == (3, 4, 6)
    assert first(dataset(tmp_path, GOOD, layout="nhwc")).shape == (4, 6, 3)
    assert first(dataset(tmp_path, GOOD, color="gray")).shape == (1, 4, 6)
    gray = {k: png(np.zeros((4, 6), np.uint8)) for k in GOOD}
    assert first(dataset(tmp_path, gray)).shape == (1, 4, 6)
    assert first(dataset(tmp_path, gray, color="rgb")).shape == (3, 4, 6)


def test_mean_and_std_go_by_the_channels_of_the_layout(tmp_path):
    for layout, axis in (("nchw", 0), ("nhwc", -1)):
        got = first(dataset(tmp_path, GOOD, layout=layout, scale=0.1, mean=(1, 2, 3), std=(1, 2, 4)))
        assert np.allclose(np.moveaxis(got, axis, 0).reshape(3, -1)[:, 0], [0, -0.5, -0.5])


def test_stretch_and_crop(tmp_path):
    """A bright square at the centre of a wide image: crop keeps it a square, stretch does not."""
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 255
    files = {k: png(wide) for k in GOOD}
    crop, stretch = (first(dataset(tmp_path, files, size=(4, 4), fit=fit))[0] for fit in ("crop", "stretch"))
    assert crop.min() > 200  # the filter reaches over the edge of the cut
    assert stretch[:, 0].max() < 10 and stretch[:, 1:3].min() > 100


def test_images_of_different_sizes_are_brought_to_one(tmp_path):
    files = GOOD | {"train/cat/z.png": png(A[:, :3])}
    assert dataset(tmp_path, files, size=(2, 5)).train.x["x"].shape == (3, 3, 2, 5)


def test_images_without_folders_have_no_labels(tmp_path):
    files = {k.replace("cat/", "").replace("dog/", ""): v for k, v in GOOD.items()}
    assert dataset(tmp_path, files).summary("imagefolder").targets == "none"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"test/cat/c.png": None, "test/dog/d.png": None}, "no images below test/; pack the folders train/CLASS"),
        ({"train/a.png": png(A)}, "some images lie in folders of classes and others do not"),
        ({"train/cat/z.png": png(A[:, :3])}, "z.png has 4 x 3 pixels, the first image 4 x 6: ask for a size"),
        ({"train/cat/z.png": b"no image"}, "z.png is not an image of the kinds JPEG, PNG"),
        ({"train/cat/z.png": gif()}, "z.png is not an image of the kinds JPEG, PNG"),
        ({"train/cat/z.png": deep_png()}, "z.png has more than 8 bits a channel"),
        ({"train/cat/z.png": png(A)[:-30]}, "z.png is damaged"),
        ({"train/cat/z.png": huge_png(6000)}, "z.png has 6000 x 6000 pixels; at most 33,554,432 are taken"),
        ({"train/cat/z.png": huge_png(60_000)}, "z.png is not an image of the kinds .* or a damaged one"),
        ({"../../x.png": png(A)}, r"holds the name '../../x.png', which leads out of it"),
        ({"/etc/train/cat/x.png": png(A)}, "which leads out of it"),
    ],
)
@pytest.mark.parametrize("suffix", [".zip", ".gz"])
def test_what_is_wrong_is_said(tmp_path, suffix, change, says):
    files = {k: v for k, v in (GOOD | change).items() if v is not None}
    with pytest.raises(UnreadableDataset, match=says):
        dataset(tmp_path, files, suffix)


def test_a_colour_image_after_grey_ones_asks_for_a_colour(tmp_path):
    files = {"train/cat/0.png": png(A[..., 0])} | GOOD
    with pytest.raises(UnreadableDataset, match=r"a.png is in colour, the first image is not: ask for color=rgb or"):
        dataset(tmp_path, files)
    assert first(dataset(tmp_path, files, color="rgb")).shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"members": 3}, "more than 3 files"),
        ({"bytes": 100}, "the archive's files take more than 100 bytes when decompressed"),
        ({"member_bytes": 20}, "a.png takes .* at most 20 are taken for an image"),
        ({"pixels": 23}, "a.png has 6 x 4 pixels; at most 23"),
    ],
)
@pytest.mark.parametrize("suffix", [".zip", ".gz"])
def test_bounds_are_held_against_what_is_declared(tmp_path, suffix, bounds, says):
    with pytest.raises(UnreadableDataset, match=says):
        dataset(tmp_path, GOOD, suffix, Bounds(**bounds))


def test_decoded_images_count_against_the_bound(tmp_path):
    with pytest.raises(UnreadableDataset, match="the arrays take 6,000,000 bytes when decompressed; at most 1,000,000"):
        dataset(tmp_path, GOOD, bounds=Bounds(bytes=1_000_000), size=(1000, 1000))


def test_a_million_members_end_at_the_bound(tmp_path):
    """Empty members are nearly free to pack; the walk ends at the first too many."""
    path = tmp_path / "many.tar"
    block = tarfile.TarInfo("train/cat/x.txt").tobuf()
    path.write_bytes(block * 20_000 + bytes(1024))
    with pytest.raises(UnreadableDataset, match="more than 10,000 files"):
        read(Source(path, "imagefolder", bounds=Bounds(members=10_000)))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"PK\3\4 no archive", b"\x1f\x8b\x08 no gzip"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "data.zip"
    path.write_bytes(content)
    with pytest.raises(UnreadableDataset, match="not a zip, npz or tar archive, or a damaged one"):
        read(Source(path, "imagefolder"))


@pytest.mark.parametrize("suffix", [".zip", ".gz"])
def test_a_truncated_archive_is_refused(tmp_path, suffix):
    path = pack(tmp_path / f"data{suffix}", GOOD)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableDataset, match=r"damaged one|cannot be read"):
        read(Source(path, "imagefolder"))


def test_links_are_passed_over(tmp_path):
    path = pack(tmp_path / "data.tar", GOOD)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("train/cat/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(read(Source(path, "imagefolder")).train) == 2


def test_nothing_is_written_but_arrays(tmp_path):
    cache = tmp_path / "cache"
    source = Source(pack(tmp_path / "data.zip", GOOD), "imagefolder")
    read(source, cache)
    assert {p.name for p in cache.rglob("*") if p.is_file()} == {"0.npy", "1.npy", "2.npy", "3.npy", "index.json"}
    read(replace(source, preprocess=Preprocess(size=(2, 2))), cache)
    assert len(list(cache.iterdir())) == 2


def test_large_images_wait_until_others_are_taken(monkeypatch):
    """A kilobyte may become 100 MB, and 512 of them were decoded at once."""
    monkeypatch.setattr(images, "DECODED_TOGETHER", 2 * A.nbytes)
    asked = []

    def encoded():
        for i in range(6):
            asked.append(i)
            yield i, Encoded("a.png", png(A))

    decoder = Decoder.like(Encoded("a.png", png(A)), Preprocess(), Bounds())
    found = decoder.decode_all(encoded())
    next(found)
    assert asked == [0, 1]
    assert [place for place, _ in found] == [1, 2, 3, 4, 5]
