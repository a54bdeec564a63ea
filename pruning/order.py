"""What a pruning job is given."""

from dataclasses import dataclass
from pathlib import Path

from pruning.analysis import Preprocess
from pruning.plan import Plan

NO_PREPROCESSING = Preprocess()


@dataclass(frozen=True)
class Order:
    """A model's bytes, a data set's file, a plan."""

    model: bytes
    data: Path
    plan: Plan
    data_format: str = "npz"
    preprocess: Preprocess = NO_PREPROCESSING
