import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruning.analysis import Preprocess
from pruning.data.cache import Source, read
from pruning.data.shelf import Bounds
from pruning.errors import UnreadableDataset
from tests.conftest import pack, png
from tests.unit.pruning.data.test_formats import labels, parquet

IMAGE = png(np.zeros((4, 4, 3), np.uint8))
LISTS = {"ids": [[1, 2], [3, 4]], "mask": [[True, False], [True, True]], "label": [0, 1]}


def both(content, test=None):
    return {"train-0.parquet": content, "test-0.parquet": test or content}


def dataset(tmp_path, files, bounds=Bounds(), **how):
    return read(Source(pack(tmp_path / "data.zip", files), "parquet", Preprocess(**how), bounds))


def test_several_columns_of_lists_are_several_inputs(tmp_path):
    found = dataset(tmp_path, both(parquet(LISTS)))
    assert set(found.train.x) == {"ids", "mask"} and found.train.x["ids"].dtype == np.int64
    assert np.array_equal(found.train.x["mask"], LISTS["mask"])
    assert found.summary("parquet").splits["train"].inputs["ids"].shape == (2,)


@pytest.mark.parametrize("kind", [pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float64(), 2), 2)])
def test_nested_lists_are_arrays(tmp_path, kind):
    values = np.arange(2 * 2 * 2).reshape(2, 2, 2)
    found = dataset(tmp_path, both(parquet({"a": pa.array(values.tolist(), kind)})))
    assert np.array_equal(found.train.x["x"], values) and found.train.y is None


def test_targets_may_be_lists_or_floats(tmp_path):
    found = dataset(tmp_path, both(parquet({"a": [[1.0], [2.0]], "label": [[0, 1, 1], [1, 1, 0]]})))
    assert found.summary("parquet").targets == "labels"
    found = dataset(tmp_path, both(parquet({"a": [[1.0], [2.0]], "target": [0.5, 1.5]})))
    assert found.summary("parquet").targets == "numbers"


def test_images_of_plain_bytes(tmp_path):
    found = dataset(tmp_path, both(parquet({"img": [IMAGE, IMAGE], "label": [0, 1], "id": ["a", "b"]})), size=(2, 2))
    assert found.train.x["x"].shape == (2, 3, 2, 2)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"text": ["a", "b"], "label": [0, 1]}, r"of the columns text \(string\), label \(int64\) there must be one"),
        ({"a": [IMAGE] * 2, "b": [IMAGE] * 2}, "there must be one of images"),
        ({"a": [[1.0], [2.0]], "label": ["cat", "dog"]}, "the column label holds text"),
        ({"a": [[1.0], [2.0, 3.0]]}, "the column a holds lists of different lengths; pad them"),
        ({"a": [[1.0], None]}, "the column a has rows without a value"),
        ({"a": [[1.0], [2.0]], "label": [0, None]}, "the column label has rows without a value"),
        ({"a": [IMAGE, b"no image"]}, "an image of the column a is not an image of the kinds"),
        ({"a": [{"bytes": None, "path": "x.png"}] * 2, "label": [0, 1]}, "of the columns a|has an image without bytes"),
        ({"a": [IMAGE] * 2, "label": [{"x": 1}] * 2}, "the column label holds struct"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, table, says):
    with pytest.raises(UnreadableDataset, match=says):
        dataset(tmp_path, both(parquet(table)))


def test_lists_of_other_lengths_in_another_file(tmp_path):
    with pytest.raises(UnreadableDataset, match="lists of other lengths for x than those of the first row"):
        dataset(tmp_path, both(parquet({"a": [[1.0]] * 2}), parquet({"a": [[1.0, 2.0]] * 2})))


def test_files_that_do_not_belong_together(tmp_path):
    with pytest.raises(UnreadableDataset, match="a file lacks the column label; it has a"):
        dataset(tmp_path, both(parquet({"a": [[1.0]] * 2, "label": [0, 1]}), parquet({"a": [[1.0]] * 2})))


def test_a_single_file_has_no_splits(tmp_path):
    path = tmp_path / "train.parquet"
    path.write_bytes(parquet(LISTS))
    with pytest.raises(UnreadableDataset, match="a single Parquet file has no splits"):
        read(Source(path, "parquet"))
    with pytest.raises(UnreadableDataset, match=r"both splits, .* it holds rows of train"):
        dataset(tmp_path, {"train.parquet": parquet(LISTS)})


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet", parquet(LISTS)[:-20], b"PAR1" + bytes(500) + b"PAR1"])
def test_damaged_files_are_refused(tmp_path, content):
    with pytest.raises(UnreadableDataset, match=r"train-0.parquet is not a Parquet file, or a damaged one"):
        dataset(tmp_path, both(content))


def test_size_is_checked_before_anything_is_decoded(tmp_path):
    """Zeros take nothing when they are packed."""
    content = parquet({"a": pa.array(np.zeros((20_000, 100)).tolist())})
    assert len(content) < 500_000
    with pytest.raises(UnreadableDataset, match="bytes when decompressed; at most 1,000,000"):
        dataset(tmp_path, both(content), Bounds(bytes=1_000_000))


def test_damage_within_a_page_is_refused(tmp_path):
    content = bytearray(parquet({"a": [[float(i % 7)] * 20 for i in range(50)]}))
    content[30:60] = bytes([255] * 30)
    with pytest.raises(UnreadableDataset, match=r"train-0.parquet is not a Parquet file, or a damaged one"):
        dataset(tmp_path, both(bytes(content)))


def test_what_arrow_writes_is_read_back(tmp_path):
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [[1.0], [2.0]], "label": [0, 1]}), sink, compression="zstd")
    assert labels(dataset(tmp_path, both(sink.getvalue())).train) == [0, 1]


def with_rows(content: bytes, rows: int, said: int) -> bytes:
    """The footer says another number of rows, in each of its places: a zigzag varint of one byte."""
    begin = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    old, new = bytes([2 * rows]), bytes([2 * said])
    return content[:begin] + content[begin:-8].replace(b"\x16" + old, b"\x16" + new) + content[-8:]


@pytest.mark.parametrize("said", [40, 63])
def test_rows_that_are_promised_must_come(tmp_path, said):
    content = parquet({"a": [[float(i)] for i in range(30)], "label": [i % 2 for i in range(30)]})
    changed = with_rows(content, 30, said)
    assert pq.ParquetFile(io.BytesIO(changed)).metadata.num_rows == said
    with pytest.raises(UnreadableDataset, match=r"train-0.parquet .* damaged"):
        dataset(tmp_path, both(changed, content))


def test_rows_in_no_group_are_none(tmp_path):
    sink = io.BytesIO()
    pq.ParquetWriter(sink, pa.table(LISTS).schema).close()
    changed = with_rows(sink.getvalue(), 0, 2)
    assert pq.ParquetFile(io.BytesIO(changed)).metadata.num_rows == 2
    with pytest.raises(UnreadableDataset, match="the archive needs Parquet files of both splits"):
        dataset(tmp_path, both(changed))


def test_labels_of_another_type_in_another_file(tmp_path):
    """They were cut to whole numbers, silently."""
    whole, halves = parquet({"a": [[1.0]] * 2, "label": [0, 1]}), parquet({"a": [[1.0]] * 2, "label": [0.5, 1.5]})
    with pytest.raises(UnreadableDataset, match=r"test-0.parquet holds float64 for y, the first file int64"):
        dataset(tmp_path, both(whole, halves))


def test_names_of_classes_without_end_are_none(tmp_path):
    made = pa.table({"a": [[1.0]] * 2, "label": [0, 1]}).replace_schema_metadata({"huggingface": "[" * 100_000})
    sink = io.BytesIO()
    pq.write_table(made, sink)
    assert dataset(tmp_path, both(sink.getvalue())).class_names == ()
