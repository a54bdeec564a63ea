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
    """Sizes of the files, and what gzip -9 and zstd -19 (-15 over 8 MiB) make of them; None: not made, or not tried."""

    pruned_gzip: int
    pruned_zstd: int | None = None
    dense_gzip: int | None = None
    dense_zstd: int | None = None
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
    """The files run in turn; medians in milliseconds.

    spread = interquartile range / median, of the file where it is larger; speedup = median of dense / pruned, call by
    call.
    """

    runtime: str
    provider: str
    threads: int
    batch: int
    runs: int = Field(default=0, description="Calls of each file that were timed; 0: it was not written down.")
    dense_ms: float
    pruned_ms: float
    packed_ms: float | None = Field(default=None, description="Of the packed file, once it is loaded.")
    speedup: float = Field(description="Median of dense / pruned, call by call.")
    spread: float


class Loading(Frozen):
    """Milliseconds to create a session on one thread; medians, the files in turn."""

    dense_ms: float
    pruned_ms: float
    packed_ms: float | None = None


class Memory(Frozen):
    """Bytes that a process takes at most to load a file and run one example, above an idle runtime.

    None: there is no such file, or the machine does not tell.
    """

    dense: int | None = None
    pruned: int | None = None
    packed: int | None = None


class PackedReport(Frozen):
    """The packed file: the same net in fewer bytes, unpacked by the runtime while it loads."""

    bytes: int
    exact: bool = Field(description="Whether its weights are those of pruned.onnx, bit by bit.")
    largest_change: float = Field(description="Of a weight, against pruned.onnx.")
    agrees_max_abs: float = Field(description="Largest difference of its outputs from those of pruned.onnx.")
    accuracy: float | None = Field(default=None, description="By the report's metric, where it was counted again.")


class LayerForm(Frozen):
    """What became of a layer at delivery, because the whole net was faster so; milliseconds of the layer alone."""

    layer: str
    form: str = Field(description="gathered, trimmed, product, not rewritten, ...")
    dense_ms: float
    chosen_ms: float


class LayerReport(Frozen):
    """One layer, counted in the delivered file."""

    name: str
    kind: str
    weights: int
    kept: int
    stored: int | None = Field(default=None, description="Weights that the file has of it, those that are zero too.")
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
    machine: str = Field(default="", description="The processor that the files were measured on, and its cores.")
    seconds: float


class Report(Frozen):
    """The whole report."""

    headline: str
    goal_met: bool
    accuracy: Accuracy
    compression: Compression
    latency: LatencyReport = Field(description="One thread, one example, or the batch that the files have.")
    latencies: tuple[LatencyReport, ...] = Field(
        default=(), description="All that were measured: threads by batch, and by provider; `latency` is the first."
    )
    loading: Loading | None = None
    memory: Memory | None = None
    packed: PackedReport | None = None
    delivered: tuple[LayerForm, ...] = Field(default=(), description="Layers whose form was chosen by measurement.")
    runtimes: tuple[str, ...] = Field(default=(), description="Which runtimes gain from this file, and from what.")
    layers: tuple[LayerReport, ...]
    convergence: Convergence
    search: tuple[SearchPoint, ...] = Field(default=(), description="What max_accuracy_drop tried, in order.")
    checks: Checks
    notes: tuple[str, ...] = ()
    manifest: Manifest
