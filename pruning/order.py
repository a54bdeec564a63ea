"""What a pruning job is given."""

from dataclasses import dataclass
from pathlib import Path

from pruning.analysis import Preprocess
from pruning.plan import Plan

NO_PREPROCESSING = Preprocess()


@dataclass(frozen=True)
class Order:
    """A model's bytes, a data set's file, a plan; most_data_bytes limits the decompressed data set."""

    model: bytes
    data: Path
    plan: Plan
    data_format: str = "npz"
    preprocess: Preprocess = NO_PREPROCESSING
    most_data_bytes: int = 2**35
