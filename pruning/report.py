"""The report's model: every number is of the delivered file. Importable without torch."""

from typing import Any

from pydantic import Field

from pruning.analysis import Preprocess
from pruning.frozen import Frozen

METRICS: dict[str, tuple[str, str]] = {  # name in sentences, format
    "top1": ("top-1", ".2%"),
    "f1": ("micro F1", ".2%"),
    "mse": ("mean squared error", ".4g"),
    "agreement": ("agreement with the dense model", ".2%"),
    "r2": ("R2 against the dense model", ".4f"),
}


class Accuracy(Frozen):
    """By a metric, counted in ONNX Runtime."""

    metric: str = Field(
        default="top1",
        description="top1, f1 (micro, at 0.5), mse; without labels agreement or r2 with the dense file, which is 1.",
    )
    dense: float
    pruned: float
    drop: float = Field(description="How much worse the pruned file is; negative where it is better.")
    examples: int
    split: str = Field(
        default="test", description="Used once, for the delivered file; models are chosen on a validation split."
    )

    @staticmethod
    def named(metric: str) -> str:
        """The metric in sentences."""
        return METRICS[metric][0]

    @staticmethod
    def formatted(metric: str, value: float) -> str:
        """A value of the metric in sentences."""
        return format(value, METRICS[metric][1])


class Pair(Frozen):
    """Before and after."""

    dense: int
    pruned: int


class Bytes(Pair):
    """Sizes of the files; packed is None where no packed file was made."""

    pruned_gzip: int
    packed: int | None = None


class Compression(Frozen):
    """Weights of convolution and dense layers, as the papers count them; biases are beside."""

    weights_total: int
    weights_kept: int
    pruning_rate: float = Field(description="weights_total / weights_kept.")
    sparsity: float = Field(description="Share of zeros.")
    multiply_adds: Pair = Field(description="For one example; pruned counts non-zero weights only.")
    value_bits: int = Field(default=0, description="Bits of the kept weights' values, without their places.")
    bytes: Bytes


class LatencyReport(Frozen):
    """Dense and pruned run in turn; medians in milliseconds, spread = interquartile range / median."""

    runtime: str
    provider: str
    threads: int
    batch: int
    dense_ms: float
    pruned_ms: float
    speedup: float
    spread: float


class LayerReport(Frozen):
    """One layer, counted in the delivered file."""

    name: str
    kind: str
    weights: int
    kept: int
    sparsity: float
    bits: int = Field(default=32, description="Of a kept weight; counted in the file where it was quantized.")
    filters_removed: int = Field(default=0, description="Filters or neurons that the file has no more.")


class SearchPoint(Frozen):
    """A trial of a search for a rate."""

    pruning_rate: float
    accuracy: float = Field(description="By the metric, on the validation split.")
    met: bool = Field(description="Whether it lost no more than was allowed.")


class Convergence(Frozen):
    """How ADMM ended."""

    rounds: int
    primal: float
    dual: float
    ended: str


class Checks(Frozen):
    """What was verified on the delivered file after it was written."""

    opens: bool
    checker: bool
    agrees_max_abs: float = Field(description="Largest difference of ONNX Runtime from the trained network.")
    zeros_counted: int


class Manifest(Frozen):
    """What is needed to do it again."""

    model_sha256: str
    dataset_sha256: str
    plan: dict[str, Any]
    preprocess: Preprocess
    data_format: str = "npz"
    batch_size: int = Field(description="Examples in a training step, also where the plan left it open.")
    seed: int
    versions: dict[str, str]
    device: str
    seconds: float


class Report(Frozen):
    """The whole report."""

    headline: str
    goal_met: bool
    accuracy: Accuracy
    compression: Compression
    latency: LatencyReport
    layers: tuple[LayerReport, ...]
    convergence: Convergence
    search: tuple[SearchPoint, ...] = Field(default=(), description="What max_accuracy_drop tried, in order.")
    checks: Checks
    notes: tuple[str, ...] = ()
    manifest: Manifest
