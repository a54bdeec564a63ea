"""What the process of one piece of work is given: files to read, settings to keep to, and nothing of the store."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ERRAND = "errand.json"  # in the folder of the process
TRACE = "SECATEUR_TRACE_ID"  # in its environment, for its log


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DataFile(_Frozen):
    """A data set's file, how it is read, and where it is kept decoded."""

    path: Path
    format: str
    preprocess: dict[str, Any]
    most_bytes: int = Field(description="Of the decoded data set.")
    cache: Path = Field(description="Folder of decoded data sets of the same owner; this process may write there.")


class JobErrand(_Frozen):
    """Prune; memory: bytes that prepared examples may take; checkpoint: what to go on from; processes: that share
    each batch.
    """

    kind: Literal["job"] = "job"
    model: Path
    data: DataFile
    plan: dict[str, Any]
    teacher: Path | None
    memory: int
    checkpoint: Path | None
    model_name: str
    dataset_name: str
    processes: int = 1

    @property
    def reads(self) -> list[Path]:
        """Files that it may read."""
        return [p for p in (self.model, self.data.path, self.teacher, self.checkpoint) if p is not None]


class ModelErrand(_Frozen):
    """Vet and analyse a model."""

    kind: Literal["model"] = "model"
    model: Path
    most_bytes: int

    @property
    def reads(self) -> list[Path]:
        """Files that it may read."""
        return [self.model]


class DatasetErrand(_Frozen):
    """Read a data set through."""

    kind: Literal["dataset"] = "dataset"
    data: DataFile

    @property
    def reads(self) -> list[Path]:
        """Files that it may read."""
        return [self.data.path]


Errand = Annotated[JobErrand | ModelErrand | DatasetErrand, Field(discriminator="kind")]
