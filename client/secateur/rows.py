"""What the service says of things, as it says it: JSON objects with names.

A field that is not listed here is there all the same; NotRequired ones came later and an older service lacks them.
"""

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict

Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")


class Reading(TypedDict, total=False):
    """How a data set is read; examples become (x * scale - mean) / std."""

    format: Literal["npz", "imagefolder", "parquet", "idx"] | str | None
    scale: float | None
    mean: float | Sequence[float] | str | None
    std: float | Sequence[float] | str | None
    size: int | Sequence[int] | str | None
    fit: Literal["stretch", "crop"] | str | None
    color: Literal["rgb", "gray"] | str | None
    layout: Literal["nchw", "nhwc"] | str | None


class Goal(TypedDict, total=False):
    """How far, where it is not a pruning rate."""

    sparsity: float | None
    max_drop: float | None
    multiply_adds: float | None
    bytes: int | None


class Options(Goal, Reading, total=False):
    """What prune takes by name."""


class UploadRow(TypedDict):
    """A model or data set."""

    id: str
    name: str
    sha256: str
    bytes: int
    status: Literal["validating", "ready", "rejected"]
    problems: list[str]
    created_at: str
    jobs: NotRequired[int]


class ModelRow(UploadRow):
    """An uploaded model."""


class DatasetRow(UploadRow):
    """An uploaded data set; summary (splits, counts, shapes, classes) is None until it is ready."""

    format: str
    preprocess: dict[str, Any]
    summary: Any


class Result(TypedDict):
    """The numbers of a job that has succeeded, measured on its file."""

    headline: str
    goal_met: bool
    metric: str
    accuracy_dense: float
    accuracy_pruned: float
    drop: float
    pruning_rate: float
    weights_total: int
    weights_kept: int
    bytes_dense: int
    bytes_pruned: int
    bytes_packed: int | None
    dense_ms: float
    pruned_ms: float
    speedup: float
    spread: float
    speed: str
    lost_much: bool


class JobRow(TypedDict):
    """A job as it stands."""

    id: str
    name: str | None
    labels: list[str]
    model_id: str
    dataset_id: str
    plan: dict[str, Any]
    status: Status
    phase: str | None
    progress: float
    round: int | None
    eta_seconds: float | None
    attempt: int
    queue_position: int | None
    goal_met: bool | None
    error: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    model_name: NotRequired[str]
    dataset_name: NotRequired[str]
    result: NotRequired[Result | None]
    webhook_url: NotRequired[str | None]
    expires_at: NotRequired[str | None]
    queue: NotRequired[str]
    priority: NotRequired[int]


class Event(TypedDict):
    """Something that happened to a job; seq counts from 1."""

    seq: int
    at: str
    kind: str
    data: dict[str, Any]


class Metrics(TypedDict):
    """Series of equal length, one entry a round; step 0 is the dense net."""

    metric: list[str]
    step: list[int]
    phase: list[str]
    round: list[int]
    loss: list[float | None]
    accuracy: list[float | None]
    accuracy_pruned: list[float | None]
    primal: list[float | None]
    dual: list[float | None]
    rho: list[float | None]
    pruning_rate: list[float | None]
    layers: NotRequired[dict[str, float]]


class File(TypedDict):
    """A file that a job delivered."""

    name: str
    sha256: str
    bytes: int
    url: str


class Delivery(TypedDict):
    """A message to a job's webhook; id is its webhook-id."""

    id: str
    type: Literal["job.succeeded", "job.failed", "job.cancelled"]
    url: str
    status: Literal["pending", "delivered", "given_up"]
    attempts: int
    last_error: str | None
    created_at: str
    next_at: str | None
    delivered_at: str | None
    gave_up_at: str | None


class WebhookSecret(TypedDict):
    """What messages are signed with; until previous_until the one before signs too."""

    secret: str
    previous_until: str | None


class CheckedLayer(TypedDict):
    """What a plan would do with a layer; keeps is None where training decides."""

    name: str
    kind: str
    weights: int
    keeps: int | None
    pattern: str
    excluded: bool


class CheckedPlan(TypedDict):
    """A plan with its defaults, and what it would do; layers only where a model was named."""

    plan: dict[str, Any]
    layers: NotRequired[list[CheckedLayer] | None]
    highest_rate: float | None
