"""Parquet as Hugging Face writes it, in a zip or tar: train-00000-of-00001.parquet, test-..., validation-....

A column of images (bytes), or columns of lists of numbers, one for each input; and a column of labels.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pruning.analysis import Preprocess
from pruning.data.archive import LONGEST_NAME, members, printable, told
from pruning.data.images import Decoder, Encoded
from pruning.data.shelf import Bounds, Shelf
from pruning.data.splits import split_of
from pruning.errors import UnreadableDataset

LABELS = ("label", "labels", "fine_label", "target", "targets", "class", "y")
ROWS = 512  # read together
MOST_NAMES = 2**16
MOST_COLUMNS = 1000


@dataclass(frozen=True)
class Columns:
    """What each column is for. image: None where the inputs are lists; label: None without labels."""

    image: str | None
    arrays: tuple[str, ...]
    label: str | None
    class_names: tuple[str, ...]

    @property
    def used(self) -> list[str]:
        """Those that are read."""
        return [*([self.image] if self.image else []), *self.arrays, *([self.label] if self.label else [])]


def read_parquet(path: Path, how: Preprocess, shelf: Shelf) -> None:
    """Two walks through the archive: what is there, then reading it some rows at a time.

    Raises: UnreadableDataset: what is wrong with the archive, a file or a column.
    """
    rows, columns, first = _look(path, shelf.bounds)
    decoder = Decoder.like(_encoded(first, columns.image, 0), how, shelf.bounds) if columns.image else None
    if decoder is None and (how.size or how.color):
        raise UnreadableDataset("size and color are for images; columns of numbers are taken as they are")
    for split, n in rows.items():
        for name, values in _values(first, columns, decoder).items():
            shelf.make(_key(name, split), (n, *values.shape[1:]), values.dtype)
    _fill(path, columns, decoder, shelf)
    shelf.class_names = columns.class_names


def _look(path: Path, bounds: Bounds) -> tuple[Counter[str], Columns, pa.RecordBatch]:
    """Rows of each split, the columns, and the first row."""
    rows: Counter[str] = Counter()
    columns: Columns | None = None
    first: pa.RecordBatch | None = None
    for name, split, file in _files(path, bounds):
        rows[split] += file.metadata.num_rows
        columns = columns or _columns(file.schema_arrow)
        _check_columns(file.schema_arrow, columns)
        if first is None and file.metadata.num_rows:
            first = next(_batches(file, name, columns, 1), None)
    if first is None or columns is None or not rows["train"] or not rows["test"]:
        raise UnreadableDataset(
            "the archive needs Parquet files of both splits, named such as train-00000-of-00001.parquet and "
            f"test-00000-of-00001.parquet; it holds rows of {', '.join(k for k, n in rows.items() if n) or 'none'}"
        )
    return rows, columns, first


def _files(path: Path, bounds: Bounds) -> Iterator[tuple[str, str, pq.ParquetFile]]:
    """Each Parquet file with its name and split, from a temporary file without a name: Parquet is read from its end."""
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            raise UnreadableDataset(
                "a single Parquet file has no splits; pack train-*.parquet and test-*.parquet in a zip or tar"
            )
    for member in members(path, bounds):
        split = split_of(member.parts[-1]) or split_of("/".join(member.parts[:-1]))
        if split is None or not member.name.endswith(".parquet"):
            continue
        with tempfile.TemporaryFile() as copy, _told(member.name):
            with member.open() as content:
                shutil.copyfileobj(content, copy)
            file = pq.ParquetFile(copy)
            _check_size(file, member.name, bounds)
            yield member.name, split, file


def _batches(file: pq.ParquetFile, name: str, columns: Columns, size: int = ROWS) -> Iterator[pa.RecordBatch]:
    with _told(name):
        yield from file.iter_batches(batch_size=size, columns=columns.used)


@contextmanager
def _told(name: str) -> Iterator[None]:
    with told(f"{name} is not a Parquet file, or a damaged one; write it again"):
        try:
            yield
        except pa.ArrowException as error:
            if isinstance(error, MemoryError):
                raise
            raise ValueError(str(error)) from error  # some of Arrow's errors have no other base


def _check_size(file: pq.ParquetFile, name: str, bounds: Bounds) -> None:
    groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
    if min(file.metadata.num_rows, *groups, 0) < 0:
        raise UnreadableDataset(f"{name} says that it has less than nothing in it; it is damaged: write it again")
    if sum(groups) > bounds.bytes:
        raise UnreadableDataset(
            f"{name} takes {sum(groups):,} bytes when decompressed; at most {bounds.bytes:,} are taken"
        )


def _columns(schema: pa.Schema) -> Columns:
    if len(schema.names) > MOST_COLUMNS or any(printable(n)[:LONGEST_NAME] != n for n in schema.names):
        raise UnreadableDataset(f"at most {MOST_COLUMNS} columns are taken, with short names that can be printed")
    label = next((name for name in LABELS if name in schema.names), None)
    images = [f.name for f in schema if f.name != label and _is_image(f.type)]
    arrays = [f.name for f in schema if f.name != label and _is_numbers(f.type)]
    if len(images) > 1 or not (images or arrays):
        raise UnreadableDataset(
            f"of the columns {', '.join(f'{f.name} ({f.type})' for f in schema)} there must be one of images (bytes), "
            "or some of lists of numbers; drop those that are not meant"
        )
    if label is not None and pa.types.is_string(schema.field(label).type):
        raise UnreadableDataset(f"the column {label} holds text; encode the classes as numbers, counted from 0")
    names = _class_names(schema, label)
    return Columns(images[0], (), label, names) if images else Columns(None, tuple(arrays), label, names)


def _check_columns(schema: pa.Schema, columns: Columns) -> None:
    if missing := [name for name in columns.used if name not in schema.names]:
        raise UnreadableDataset(f"a file lacks the column {', '.join(missing)}; it has {', '.join(schema.names)}")


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if "bytes" in [f.name for f in kind] else pa.null()
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_numbers(kind: pa.DataType) -> bool:
    inner = kind
    while _is_list(inner):
        inner = inner.value_type
    return _is_list(kind) and (pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner))


def _class_names(schema: pa.Schema, label: str | None) -> tuple[str, ...]:
    """Of a ClassLabel, from what Hugging Face writes beside the schema; none where that is not as expected."""
    try:
        said: Any = json.loads((schema.metadata or {})[b"huggingface"])
        names = said["info"]["features"][label]["names"]
        is_sane = isinstance(names, list) and len(names) <= MOST_NAMES
        return tuple(printable(str(name))[:LONGEST_NAME] for name in names) if is_sane else ()
    except (KeyError, ValueError, TypeError, RecursionError):
        return ()


def _fill(path: Path, columns: Columns, decoder: Decoder | None, shelf: Shelf) -> None:
    rows: Counter[str] = Counter()
    for name, split, file in _files(path, shelf.bounds):
        left = file.metadata.num_rows  # room was made for so many
        for batch in _batches(file, name, columns):
            left -= batch.num_rows
            if left < 0:
                break
            begin, end = rows[split], rows[split] + batch.num_rows
            for key, values in _values(batch, columns, decoder).items():
                array = shelf.arrays[_key(key, split)]
                if values.shape[1:] != array.shape[1:]:
                    raise UnreadableDataset(
                        f"{name} holds lists of other lengths for {key} than those of the first row; pad them"
                    )
                if not np.can_cast(values.dtype, array.dtype, "same_kind"):
                    raise UnreadableDataset(
                        f"{name} holds {values.dtype} for {key}, the first file {array.dtype}; write both as one type"
                    )
                array[begin:end] = values
            rows[split] = end
        if left:
            raise UnreadableDataset(f"{name} does not hold as many rows as it says; it is damaged: write it again")


def _values(batch: pa.RecordBatch, columns: Columns, decoder: Decoder | None) -> dict[str, np.ndarray]:
    """By x, or x.NAME where there are several inputs, and y."""
    several = len(columns.arrays) > 1
    found = {f"x.{name}" if several else "x": _numbers(batch, name) for name in columns.arrays}
    if decoder is not None:
        encoded = ((i, _encoded(batch, columns.image, i)) for i in range(batch.num_rows))
        found["x"] = np.stack([pixels for _, pixels in decoder.decode_all(encoded)])
    return found | ({"y": _numbers(batch, columns.label)} if columns.label else {})


def _key(name: str, split: str) -> str:
    """x_train.NAME for x.NAME."""
    return f"{name[0]}_{split}{name[1:]}"


def _encoded(batch: pa.RecordBatch, column: str | None, row: int) -> Encoded:
    value = batch.column(column)[row].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if not content:
        raise UnreadableDataset(f"the column {column} has an image without bytes; store the images in the file")
    return Encoded(f"an image of the column {column}", content)


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """(rows, ...), from lists that all have the same lengths."""
    column, shape = batch.column(name), [batch.num_rows]
    while True:
        if column.null_count:
            raise UnreadableDataset(f"the column {name} has rows without a value; fill them, or drop these rows")
        if not _is_list(column.type):
            break
        inner = column.flatten()
        length = len(inner) // max(len(column), 1)
        if any(n != length for n in column.value_lengths().to_pylist()):
            raise UnreadableDataset(f"the column {name} holds lists of different lengths; pad them to one")
        shape, column = [*shape, length], inner
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
        raise UnreadableDataset(f"the column {name} holds {column.type}; it must hold numbers")
    return column.to_numpy(zero_copy_only=False).reshape(shape)
