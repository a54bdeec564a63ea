"""The account of a delivered file: what was found on it becomes the report."""

import hashlib
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import onnxruntime as ort
from onnx import ModelProto

from pruning.advice import advise
from pruning.analysis import Layer
from pruning.comparison import Judged
from pruning.data.dataset import Dataset
from pruning.following import Ended
from pruning.headline import headline
from pruning.measure import Measurement, machine
from pruning.objective import Objective
from pruning.onnx.network import Network
from pruning.order import Order
from pruning.plan import Budget
from pruning.recipe import bare, command
from pruning.report import (
    Accuracy,
    Bytes,
    Checks,
    Compression,
    LatencyReport,
    LayerForm,
    LayerReport,
    Loading,
    Manifest,
    Memory,
    PackedReport,
    Pair,
    Report,
)
from pruning.runtimes import Facts, about

ROUNDING = 1e-9
MUCH = 1.1  # times the rate that was asked for
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Trained:
    """What the pipeline hands over. started is by time.monotonic()."""

    model: ModelProto
    network: Network
    dataset: Dataset
    order: Order
    objective: Objective
    ended: Ended
    device: str
    batch_size: int
    started: float


@dataclass(frozen=True)
class Measured:
    """What was found on the delivered file; removed: filters and neurons that it has no more.

    files: what was measured on the "dense" and the "pruned" file and, where there is one, the "packed" one.
    """

    checks: Checks
    layers: list[LayerReport]
    removed: int
    judged: Judged
    files: Measurement
    notes: tuple[str, ...]
    packed: PackedReport | None = None
    delivered: tuple[LayerForm, ...] = ()


def report_of(trained: Trained, measured: Measured) -> Report:
    """All that is to be said of the delivered file."""
    compression = _compression(trained, measured)
    accuracy, ended = measured.judged.accuracy, trained.ended
    missed = _missed(trained.order.plan.budget, compression, accuracy)
    runtime = f"onnxruntime {ort.__version__}"
    latencies = tuple(LatencyReport(runtime=runtime, **vars(row)) for row in measured.files.latencies)
    report = Report(
        headline=headline(compression, accuracy, latencies[0]),
        goal_met=_is_met(trained.order.plan.budget, compression, accuracy),
        accuracy=accuracy,
        compression=compression,
        latency=latencies[0],
        latencies=latencies,
        loading=Loading(**{f"{name}_ms": taken for name, taken in measured.files.loading.items()}),
        memory=Memory(**measured.files.memory),
        packed=measured.packed,
        delivered=measured.delivered,
        runtimes=about(_facts(trained, measured, compression)),
        layers=tuple(measured.layers),
        classes=measured.judged.classes,
        confusion=measured.judged.confusion,
        history=ended.history,
        convergence=ended.convergence,
        search=ended.search,
        checks=measured.checks,
        notes=(*missed, *measured.notes),
        manifest=_manifest(trained),
    )
    return report.model_copy(update={"next": advise(report)})


def _facts(trained: Trained, measured: Measured, compression: Compression) -> Facts:
    """Of the file, by what the plan asked for."""
    plan, row = trained.order.plan, measured.files.latencies[0]
    patterns = [plan.pattern, *(rule.pattern for rule in plan.layers if rule.pattern is not None)]
    zeros = measured.checks.zeros_counted
    places = {
        name: ("products" if layer.kind == "dense" else "pointwise" if _is_pointwise(layer) else "")
        for name, layer in trained.network.layers.items()
    }
    return Facts(
        patterns=tuple(dict.fromkeys(pattern.kind for pattern in patterns)),
        zeros=zeros / max(zeros + compression.weights_kept, 1),
        removed=measured.removed,
        dense_ms=row.dense_ms,
        pruned_ms=row.pruned_ms,
        speedup=row.speedup,
        pruned_bytes=compression.bytes.pruned,
        n_m=next(((pattern.n, pattern.m) for pattern in patterns if pattern.kind == "n_m"), None),
        gathered=sum(layer.form.startswith("gathered") for layer in measured.delivered),
        rewritten=sum(layer.form == "product" for layer in measured.delivered),
        pointwise=_zero_share([layer for layer in measured.layers if places[layer.name] == "pointwise"]),
        products=_zero_share([layer for layer in measured.layers if places[layer.name] == "products"]),
        bits=plan.quantize.bits if plan.quantize else None,
        packed_bytes=compression.bytes.packed,
        packed_ms=row.packed_ms,
    )


def _is_pointwise(layer: Layer) -> bool:
    return layer.kind == "conv" and layer.groups == 1 and all(size == 1 for size in layer.shape[2:])


def _zero_share(layers: list[LayerReport]) -> float | None:
    stored = sum(layer.weights if layer.stored is None else layer.stored for layer in layers)
    return 1 - sum(layer.kept for layer in layers) / stored if stored else None


def _missed(budget: Budget, compression: Compression, accuracy: Accuracy) -> list[str]:
    """Where the budget was not met, by how much, and what to do."""
    if _is_met(budget, compression, accuracy):
        return _passed(budget, compression)
    if budget.max_accuracy_drop is not None:
        return [
            f"the goal was missed on the test split: {accuracy.drop:.4g} was lost, {budget.max_accuracy_drop:g} "
            "allowed; ask for a smaller drop, or give more validation examples"
        ]
    if budget.bytes is not None:
        over = _smallest(compression.bytes) / budget.bytes - 1
        return [f"the file is {100 * over:.1f} % larger than was asked for: ask for so much less"]
    return [f"more stayed than was asked for: a rate of {compression.pruning_rate:.4g} was reached"]


def _passed(budget: Budget, compression: Compression) -> list[str]:
    """Where much more went than was asked for: weights that nothing reads any more go too."""
    if budget.pruning_rate is None and budget.sparsity is None:
        return []
    asked, reached = budget.kept_of(compression.weights_total), compression.weights_kept
    if reached * MUCH > asked:
        return []
    return [
        f"more went than was asked for: {reached:,} weights are left of {asked:,} that might have been, because what "
        "nothing reads goes too; for higher accuracy ask for a lower rate"
    ]


def _is_met(budget: Budget, compression: Compression, accuracy: Accuracy) -> bool:
    """Whether the file is what was asked for, by what was counted and measured on it."""
    if budget.max_accuracy_drop is not None:
        allowed = budget.max_accuracy_drop * (abs(accuracy.dense) if accuracy.metric == "mse" else 1)
        return accuracy.drop <= allowed + ROUNDING
    if budget.bytes is not None:
        return _smallest(compression.bytes) <= budget.bytes
    if budget.multiply_adds_share is not None:
        return compression.multiply_adds.pruned <= budget.kept_of(compression.multiply_adds.dense)
    return compression.weights_kept <= budget.kept_of(compression.weights_total)


def _smallest(size: Bytes) -> int:
    """What a budget of bytes is held against."""
    return size.pruned_gzip if size.packed is None else size.packed


def _compression(trained: Trained, measured: Measured) -> Compression:
    layers, sizes = measured.layers, measured.files.sizes
    dense, pruned, packed = sizes["dense"], sizes["pruned"], sizes.get("packed")
    total, kept = sum(x.weights for x in layers), sum(x.kept for x in layers)
    before = trained.network.layers.values()
    return Compression(
        weights_total=total,
        weights_kept=kept,
        pruning_rate=total / max(kept, 1),
        sparsity=1 - kept / total,
        multiply_adds=Pair(
            dense=sum(x.multiply_adds for x in before),
            pruned=sum(a.multiply_adds * b.kept // b.weights for a, b in zip(before, layers, strict=True)),
        ),
        value_bits=sum(x.kept * x.bits for x in layers),
        bytes=Bytes(
            dense=dense.raw,
            pruned=pruned.raw,
            pruned_gzip=pruned.gzip,
            pruned_zstd=pruned.zstd,
            dense_gzip=dense.gzip,
            dense_zstd=dense.zstd,
            packed=packed.raw if packed else None,
        ),
    )


def _manifest(trained: Trained) -> Manifest:
    order = trained.order
    plan: dict[str, Any] = order.plan.model_dump(mode="json", exclude_none=True)
    with order.data.open("rb") as file:
        dataset_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    names = bare(order.model_name, "model.onnx"), bare(order.dataset_name, "data.npz")
    teacher = order.plan.distill.teacher if order.teacher is not None else None
    return Manifest(
        model_name=names[0],
        model_sha256=hashlib.sha256(order.model).hexdigest(),
        dataset_name=names[1],
        dataset_sha256=dataset_sha256,
        plan=plan,
        preprocess=order.preprocess,
        data_format=order.data_format,
        batch_size=trained.batch_size,
        seed=order.plan.train.seed,
        versions={"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        device=trained.device,
        processes=trained.objective.group.size,
        machine=machine(),
        seconds=round(time.monotonic() - trained.started, 3),
        command=command(*names, teacher),
    )
