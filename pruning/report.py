"""The report's model: every number is of the delivered file. Importable without torch."""

from typing import Any, Literal

from pydantic import Field

from pruning.analysis import Preprocess
from pruning.frozen import Frozen

METRICS: dict[str, tuple[str, str]] = {  # name in sentences, format
    "top1": ("top-1", "%"),
    "f1": ("micro F1", "%"),
    "mse": ("mean squared error", ".4g"),
    "agreement": ("agreement with the dense model", "%"),
    "r2": ("R2 against the dense model", ".4f"),
}
LARGE = 0.02  # of a share
LARGE_GROWTH = 0.1  # of another metric, relative
Bounds = tuple[float, float]


class Interval(Frozen):
    """Where the metric lies with 95 % confidence, (low, high): what other test examples of the same kind might give."""

    dense: Bounds
    pruned: Bounds
    drop: Bounds = Field(description="Of the two files on the same examples; without 0 it is more than chance.")
    source: str = Field(description="How it was computed.")


class Changed(Frozen):
    """Examples (or positions, where each has its own class) by which of the two files is right."""

    both_right: int
    only_dense: int
    only_pruned: int
    both_wrong: int


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

    unit: Literal["examples", "images"] = Field(default="examples", description="What an example is called.")
    interval: Interval | None = Field(default=None, description="None: the metric has none that is known (r2).")
    changed: Changed | None = Field(default=None, description="None: the metric knows no right and wrong.")

    @property
    def is_percent(self) -> bool:
        """Whether the metric is a share."""
        return METRICS[self.metric][1] == "%"

    @property
    def is_large_loss(self) -> bool:
        """Whether so much was lost, beyond chance, that another job is worth it."""
        if self.is_beyond_chance is False or self.drop <= 0:
            return False
        return self.drop > (LARGE if self.is_percent or self.metric == "r2" else LARGE_GROWTH * abs(self.dense))

    @property
    def is_beyond_chance(self) -> bool | None:
        """Whether the two files differ by more than the choice of test examples explains; None: not known."""
        if self.interval is None:
            return None
        low, high = self.interval.drop
        return low > 0 or high < 0

    @staticmethod
    def named(metric: str) -> str:
        """The metric in sentences."""
        return METRICS[metric][0]

    @staticmethod
    def formatted(metric: str, value: float) -> str:
        """A value of the metric in sentences."""
        form = METRICS[metric][1]
        return percent(value) if form == "%" else format(value, form)


def percent(share: float) -> str:
    """A share in sentences: 99.14 %."""
    return f"{100 * share:.2f} %"


class ClassReport(Frozen):
    """One class of the test split, by both files."""

    label: int
    name: str
    examples: int = Field(description="Of this class; positions, where each has its own class.")
    dense_right: int
    pruned_right: int
    taken_for: str | None = Field(default=None, description="The class that it is now taken for more often.")
    taken_more: int = Field(default=0, description="How much more often.")

    @property
    def change(self) -> int:
        """How many more are right."""
        return self.pruned_right - self.dense_right


class Confusion(Frozen):
    """Counts; a row is what is true, a column what a file says, both in the order of names."""

    names: tuple[str, ...]
    dense: tuple[tuple[int, ...], ...]
    pruned: tuple[tuple[int, ...], ...]


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
    relative: float | None = Field(
        default=None, description="How far the weights were from their set, as a share of their norm."
    )


class Round(Frozen):
    """What was told of one round of training; None: such a round has no such number."""

    step: int = Field(description="Rounds over the whole job, from 1.")
    phase: str = Field(description="admm, prune, retrain or quantize.")
    round: int = Field(description="Within its phase and stage.")
    loss: float | None = None
    accuracy: float | None = Field(default=None, description="By the metric, on the validation split.")
    accuracy_pruned: float | None = Field(default=None, description="Of the projected weights.")
    primal: float | None = None
    dual: float | None = None
    rho: float | None = None
    pruning_rate: float | None = None


class Checks(Frozen):
    """What was verified on the delivered file after it was written."""

    opens: bool
    checker: bool
    agrees_max_abs: float = Field(description="Largest difference of ONNX Runtime from the trained network.")
    zeros_counted: int


class Manifest(Frozen):
    """What is needed to do it again."""

    model_name: str = "model.onnx"
    model_sha256: str
    dataset_name: str = "data.npz"
    dataset_sha256: str
    plan: dict[str, Any]
    preprocess: Preprocess
    data_format: str = "npz"
    batch_size: int = Field(description="Examples in a training step, also where the plan left it open.")
    seed: int
    versions: dict[str, str]
    device: str
    processes: int = Field(default=1, description="That shared each batch.")
    machine: str = Field(default="", description="The processor that the files were measured on, and its cores.")
    seconds: float
    command: str = Field(default="", description="What does it again, in a folder with both files and this manifest.")


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
    classes: tuple[ClassReport, ...] = Field(default=(), description="Of top1, by label.")
    confusion: Confusion | None = Field(default=None, description="Of at most 30 classes.")
    history: tuple[Round, ...] = Field(default=(), description="All rounds, those before a restart too.")
    convergence: Convergence
    search: tuple[SearchPoint, ...] = Field(default=(), description="What max_accuracy_drop tried, in order.")
    checks: Checks
    notes: tuple[str, ...] = ()
    next: tuple[str, ...] = Field(default=(), description="What to try next, the most useful first.")
    manifest: Manifest
