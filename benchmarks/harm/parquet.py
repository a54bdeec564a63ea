"""Parquet: damage to footer, page headers and pages, and tables that are larger than their files."""

import io
import json
import random
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harm import imagefolder, pictures, tars, zips
from benchmarks.harm.case import NUMBERS, Case, damaged, damaged_near
from pruning.analysis import Preprocess

ROWS = 12
FIXED = pa.list_(pa.float32(), 4)


def table(columns: dict[str, Any], features: Any = None, **how: Any) -> bytes:
    """A file of these columns; features: as Hugging Face writes them."""
    made = pa.table(columns)
    if features is not None:
        said = features if isinstance(features, str) else json.dumps(features)
        made = made.replace_schema_metadata({"huggingface": said})
    sink = io.BytesIO()
    pq.write_table(made, sink, **how)
    return sink.getvalue()


@cache
def files() -> tuple[bytes, ...]:
    """Good files, of each kind of column and each way to write it."""
    rng = np.random.default_rng(0)
    label = [i % 3 for i in range(ROWS)]
    lists = {"a": rng.random((ROWS, 4)).astype(np.float32).tolist(), "label": label}
    image = {"image": [{"bytes": pictures.written()[i % 2], "path": f"{i}.png"} for i in range(ROWS)], "label": label}
    named = {"info": {"features": {"label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}}}
    nested = {"a": pa.array([[[1.0, 2.0], [3.0, 4.0]]] * ROWS, pa.list_(pa.list_(pa.float64(), 2)))}
    ways: list[dict[str, Any]] = [{"compression": c} for c in ("none", "snappy", "gzip", "zstd", "lz4", "brotli")]
    ways += [
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "column_encoding": {"label": "DELTA_BINARY_PACKED"}},
        {"use_dictionary": False, "use_byte_stream_split": ["a.list.element"]},
        {"row_group_size": 5},
        {"write_page_index": True, "write_page_checksum": True},
        {"data_page_size": 20, "version": "1.0"},
    ]
    made = [table(lists, **way) for way in ways]
    made += [table(image, named, **way) for way in ({}, {"compression": "none"}, {"use_dictionary": False})]
    made += [table(nested), table({"a": pa.array(lists["a"], FIXED), "label": label})]
    made += [table({"ids": [[1, 2]] * ROWS, "mask": [[True, False]] * ROWS, "label": label})]
    made += [table({"a": lists["a"], "text": [f"t{i}" for i in range(ROWS)], "label": pa.array(label, pa.int8())})]
    return tuple(made)


def packed(rng: random.Random, content: bytes, test: bytes | None = None) -> bytes:
    """This file in place of that of a split, or of both."""
    other = test or (content if rng.random() < 0.3 else files()[0])
    parts = {"data/train-00000-of-00001.parquet": content, "data/test-00000-of-00001.parquet": other}
    return imagefolder.packed(rng, parts)


def damage(rng: random.Random) -> Case:
    return Case("", packed(rng, damaged(rng, rng.choice(files()))), "parquet")


def footer(rng: random.Random) -> Case:
    """Its structure: schema, row groups, places and sizes of columns; the length that it ends in stays true."""
    content = rng.choice(files())
    length = int.from_bytes(content[-8:-4], "little")
    begin = len(content) - 8 - length
    changed = damaged_near(rng, content, begin, len(content) - 8)
    said = len(changed) - begin - 8 if rng.random() < 0.9 else rng.choice(NUMBERS)
    return Case("", packed(rng, changed[:-8] + (said % 2**32).to_bytes(4, "little") + b"PAR1"), "parquet")


def page(rng: random.Random) -> Case:
    """Page headers and what follows: in a small file they are most of what stands before the footer."""
    content = rng.choice(files())
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    begin = rng.choice((4, rng.randrange(4, end)))
    stop = min(begin + 40, end)
    piece = damaged(rng, content[begin:stop])
    piece = piece[: stop - begin].ljust(stop - begin, b"\0") if rng.random() < 0.8 else piece
    return Case("", packed(rng, content[:begin] + piece + content[stop:]), "parquet")


@cache
def swollen(name: str) -> bytes:
    """Small files of large tables."""
    word = bytes(2**20)
    index = pa.array(np.zeros(3000, np.int32))
    makers: dict[str, Any] = {
        "dictionary": lambda: {"image": pa.DictionaryArray.from_arrays(index, pa.array([word]))},
        "large words": lambda: {"image": pa.array([bytes(2**25)] * 3)},
        "rows": lambda: {"a": pa.FixedSizeListArray.from_arrays(np.zeros(2**20, np.int8), 1)},
        "long lists": lambda: {"a": pa.FixedSizeListArray.from_arrays(np.zeros(2**25, np.int8), 2**24)},
        "empty lists": lambda: {"a": pa.array([[]] * 100_000, pa.list_(pa.float32()))},
        "columns": lambda: {f"c{i}": [[1.0]] for i in range(1500)},
        "null": lambda: {"a": pa.nulls(10**6), "label": pa.nulls(10**6)},
    }
    return table(makers[name](), compression="zstd")


SWOLLEN = ("dictionary", "large words", "rows", "long lists", "empty lists", "columns", "null")


def bomb(rng: random.Random) -> Case:
    name = rng.choice(SWOLLEN)
    content = swollen(name)
    if rng.random() < 0.5:
        content = damaged_near(rng, content, 4, len(content) - 8)
    return Case(f"table of {name}", packed(rng, content, content if rng.random() < 0.5 else None), "parquet")


def deep(levels: int) -> pa.DataType:
    kind: pa.DataType = pa.float32()
    for _ in range(levels):
        kind = pa.list_(kind)
    return kind


def kinds(rng: random.Random) -> Case:
    """Columns of types that nobody expects."""
    choices: tuple[Any, ...] = (
        pa.array(["x"] * 3, pa.string()),
        pa.array([None] * 3, deep(rng.choice((2, 30, 90)))),
        pa.array([{"bytes": {"bytes": b"x"}}] * 3),
        pa.array([{"bytes": None}] * 3, pa.struct([("bytes", pa.binary())])),
        pa.array([[("k", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
        pa.array([1, 2, 3], pa.timestamp("ns")),
        pa.array([1, 2, 3], pa.duration("us")),
        pa.array([b"1234"] * 3, pa.binary(4)),
        pa.array([1, 2, 3], pa.decimal128(38, 2)),
        pa.array([[1.5]] * 3, pa.list_(pa.float16())),
        pa.array([[1], [2], [None]]),
        pa.array([[1.0], None, [2.0]]),
        pa.array([[float("nan")]] * 3),
        pa.array([[2**63 - 1]] * 3),
        pa.array([[]] * 3, pa.list_(pa.float32())),
        pa.array([b""] * 3),
        pa.array([rng.choice(pictures.PICTURES)(rng) for _ in range(3)]),
        pa.array([-1, 2**40, 0]),
        pa.array([True, False, True]),
        pa.array([1.5, float("inf"), 0]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
    )
    names = rng.sample(("image", "label", "a", "b", "", "a.b", "\x1b[31m", "\u202e", "x" * 2000), rng.choice((1, 2, 3)))
    features: Any = rng.choice(
        (
            None,
            "[" * 100_000,
            "{",
            '{"info": 1}',
            {"info": {"features": {"label": {"names": [1, None, "\ud800", "x\0"]}}}},
        )
    )
    content = table({name: rng.choice(choices) for name in names}, features)
    return Case("", packed(rng, content, content), "parquet", rng.choice((Preprocess(), Preprocess(size=(4, 4)))))


def rows(rng: random.Random) -> Case:
    """More or fewer rows than the footer says: the count is in it as a varint of one byte."""
    content = bytearray(rng.choice(files()))
    begin = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    places = [i for i in range(begin, len(content) - 8) if content[i] == 2 * ROWS]
    for place in rng.sample(places, rng.randint(1, len(places))) if places else ():
        content[place] = rng.choice((0, 2, 2 * ROWS - 2, 2 * ROWS + 2, 126, 1))
    return Case("", packed(rng, bytes(content)), "parquet")


def sinful(rng: random.Random) -> Case:
    parts = {"train.parquet": files()[0], "test.parquet": files()[-1]}
    name, content = rng.choice((zips, tars)).sinful(rng, parts)
    return Case(name, content, "parquet")


MAKERS = (damage, damage, footer, footer, footer, page, page, page, bomb, kinds, rows, sinful)
