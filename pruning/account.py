"""The account of a delivered file: what was found on it becomes the report."""

import hashlib
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import onnxruntime as ort
from onnx import ModelProto

from pruning.data.dataset import Dataset
from pruning.following import Ended
from pruning.measure import Latency, gzip_bytes
from pruning.objective import Objective
from pruning.onnx.network import Network
from pruning.order import Order
from pruning.plan import Budget
from pruning.report import Accuracy, Bytes, Checks, Compression, LatencyReport, LayerReport, Manifest, Pair, Report

ROUNDING = 1e-9
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
    """What was found on the delivered file."""

    checks: Checks
    layers: list[LayerReport]
    accuracy: Accuracy
    times: Latency
    notes: tuple[str, ...]


def report_of(pruned: bytes, trained: Trained, measured: Measured) -> Report:
    """Args: pruned: the delivered file."""
    compression = _compression(pruned, trained, measured.layers)
    missed = _missed(trained.order.plan.budget, compression, measured.accuracy)
    return Report(
        headline=_headline(compression, measured.accuracy, measured.times),
        goal_met=_is_met(trained.order.plan.budget, compression, measured.accuracy),
        accuracy=measured.accuracy,
        compression=compression,
        latency=LatencyReport(
            runtime=f"onnxruntime {ort.__version__}",
            provider="CPUExecutionProvider",
            threads=1,
            **vars(measured.times),
        ),
        layers=tuple(measured.layers),
        convergence=trained.ended.convergence,
        search=trained.ended.search,
        checks=measured.checks,
        notes=(*missed, *measured.notes),
        manifest=_manifest(trained),
    )


def _missed(budget: Budget, compression: Compression, accuracy: Accuracy) -> list[str]:
    """Where the budget was not met, by how much, and what to do."""
    if _is_met(budget, compression, accuracy):
        return []
    if budget.max_accuracy_drop is not None:
        return [
            f"the goal was missed on the test split: {accuracy.drop:.4g} was lost, {budget.max_accuracy_drop:g} "
            "allowed; ask for a smaller drop, or give more validation examples"
        ]
    if budget.bytes is not None:
        over = compression.bytes.pruned_gzip / budget.bytes - 1
        return [f"the file is {over:.1%} larger after gzip than was asked for: ask for so much less"]
    return [f"more stayed than was asked for: a rate of {compression.pruning_rate:.4g} was reached"]


def _is_met(budget: Budget, compression: Compression, accuracy: Accuracy) -> bool:
    """Whether the file is what was asked for, by what was counted and measured on it."""
    if budget.max_accuracy_drop is not None:
        allowed = budget.max_accuracy_drop * (abs(accuracy.dense) if accuracy.metric == "mse" else 1)
        return accuracy.drop <= allowed + ROUNDING
    if budget.bytes is not None:
        return compression.bytes.pruned_gzip <= budget.bytes
    if budget.multiply_adds_share is not None:
        return compression.multiply_adds.pruned <= budget.kept_of(compression.multiply_adds.dense)
    return compression.weights_kept <= budget.kept_of(compression.weights_total)


def _compression(pruned: bytes, trained: Trained, layers: list[LayerReport]) -> Compression:
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
        bytes=Bytes(dense=len(trained.order.model), pruned=len(pruned), pruned_gzip=gzip_bytes(pruned)),
    )


def _headline(compression: Compression, accuracy: Accuracy, times: Latency) -> str:
    dense, after = (accuracy.formatted(accuracy.metric, v) for v in (accuracy.dense, accuracy.pruned))
    return (
        f"{compression.weights_total:,} weights became {compression.weights_kept:,} "
        f"({compression.pruning_rate:.1f}x); {accuracy.named(accuracy.metric)} {dense} to {after} on "
        f"{accuracy.examples:,} test examples; {compression.bytes.dense:,} bytes to {compression.bytes.pruned:,} "
        f"({compression.bytes.pruned_gzip:,} gzipped); {times.dense_ms:.3g} ms to {times.pruned_ms:.3g} ms "
        "in ONNX Runtime on one thread"
    )


def _manifest(trained: Trained) -> Manifest:
    order = trained.order
    plan: dict[str, Any] = order.plan.model_dump(mode="json", exclude_none=True)
    with order.data.open("rb") as file:
        dataset_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Manifest(
        model_sha256=hashlib.sha256(order.model).hexdigest(),
        dataset_sha256=dataset_sha256,
        plan=plan,
        preprocess=order.preprocess,
        data_format=order.data_format,
        batch_size=trained.batch_size,
        seed=order.plan.train.seed,
        versions={"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        device=trained.device,
        seconds=round(time.monotonic() - trained.started, 3),
    )
