"""Uploads that are made to harm, by kind: each case follows from a seed, a kind and a number."""

import random
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.harm import grafts, idx, imagefolder, models, npz, parquet
from benchmarks.harm.case import Case, Maker

KINDS: dict[str, Sequence[Maker]] = {
    "onnx": models.NETS,
    "operators": models.OPERATORS_OF_ONNX,
    "grafted": grafts.GRAFTED,
    "packed": models.PACKED,
    "laborious": models.LABORIOUS,
    "npz": npz.MAKERS,
    "archives": imagefolder.ARCHIVES,
    "images": imagefolder.IMAGES,
    "parquet": parquet.MAKERS,
    "idx": idx.MAKERS,
}


def make(seed: int, kind: str, number: int) -> Case:
    """The same file for the same three, wherever it is made."""
    rng = random.Random(f"{seed} {kind} {number}")
    maker = rng.choice(KINDS[kind])
    case = maker(rng)
    return case if case.name else replace(case, name=maker.__name__)
