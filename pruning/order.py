"""What a pruning job is given."""

import math
from dataclasses import dataclass
from pathlib import Path

from pruning.analysis import Preprocess
from pruning.data.cache import Source
from pruning.data.shelf import Bounds
from pruning.plan import Plan

NO_PREPROCESSING = Preprocess()


@dataclass(frozen=True)
class Order:
    """A model's bytes, a data set's file, a plan.

    most_data_bytes: limit on the decoded data set; cache: folder where it is kept decoded, None: in memory;
    memory: bytes that prepared examples may take, more are prepared batch by batch; teacher: a model that teaches
    instead of the dense one; model_name, dataset_name: of the files, as whoever ordered calls them.
    """

    model: bytes
    data: Path
    plan: Plan
    data_format: str = "npz"
    preprocess: Preprocess = NO_PREPROCESSING
    most_data_bytes: int = 2**35
    cache: Path | None = None
    memory: float = math.inf
    teacher: bytes | None = None
    model_name: str = "model.onnx"
    dataset_name: str = "data.npz"

    @property
    def source(self) -> Source:
        """The data set's file, and how to read it."""
        return Source(self.data, self.data_format, self.preprocess, Bounds(bytes=self.most_data_bytes))
