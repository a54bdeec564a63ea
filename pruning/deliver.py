"""From a trained network to files: written back, reopened, checked and measured."""

import hashlib
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto
from safetensors.torch import save

from pruning.data.dataset import Dataset
from pruning.doubt import LOOKED_AT, doubt
from pruning.errors import WrongDelivery
from pruning.following import Ended
from pruning.listener import Listener
from pruning.measure import Feeds, Latency, gzip_bytes, latency, run, session
from pruning.metrics import METRICS
from pruning.objective import Objective
from pruning.onnx import batchnorm
from pruning.onnx.agree import compare
from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import HALVES
from pruning.onnx.network import Network
from pruning.onnx.shrink import shrink
from pruning.onnx.useful import useful_weights
from pruning.onnx.writeback import write_back
from pruning.order import Order
from pruning.plan import Budget
from pruning.report import (
    Accuracy,
    Bytes,
    Checks,
    Compression,
    LatencyReport,
    LayerReport,
    Manifest,
    Pair,
    Report,
)
from pruning.report_page import render
from pruning.tally import Tally, tally, weights_of

LIMIT, HALF_LIMIT = 1e-4, 2e-2  # relative; half precision rounds the weights
EXAMPLES_COMPARED = 64
LARGE_DROP = 0.05
ROUNDING = 1e-9
LARGE_GROWTH = 0.5  # of the mean squared error
EVALUATION_BATCH = 500
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")
NO_SPEED = (
    "zeros anywhere in a layer make the file compress better; stock ONNX Runtime multiplies by them all the same, "
    "so those that are left in the file save neither bytes on disk nor time"
)
SMALLER = "{:,} filters and neurons that were always zero or never read are gone from the graph: every runtime gains"


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


@dataclass(frozen=True)
class Delivery:
    """Files by name, and the report that is one of them."""

    files: Mapping[str, bytes]
    report: Report


def deliver(trained: Trained, listener: Listener) -> Delivery:
    """Write back, reopen, verify, measure, report.

    Raises: WrongDelivery: the file does not compute what the trained network does; RejectedModel, OutOfMemory:
    ONNX Runtime does not run it.
    """
    listener.phase("verify", 0.9)
    trained.network.module.cpu()
    batchnorm.fold(trained.network)
    masked, pruned = _written(trained)
    found = tally(pruned, masked, trained.network, trained.order.plan.quantize is not None)
    checks = _verify(pruned, trained, found.zeros)
    listener.phase("measure", 0.92)
    accuracy, doubts = _accuracy(pruned, trained)
    times = latency(trained.order.model, pruned, trained.dataset.test.prepared(slice(0, 1)))
    listener.phase("report", 0.99)
    measured = Measured(checks, found.layers, accuracy, times, (*doubts, *_about_zeros(found)))
    report = _report(pruned, trained, measured)
    files = {
        "pruned.onnx": pruned,
        "masks.safetensors": save({k: (v != 0).contiguous() for k, v in weights_of(masked, trained.network).items()}),
        "report.json": report.model_dump_json(indent=2).encode(),
        "report.html": render(report).encode(),
        "manifest.json": report.manifest.model_dump_json(indent=2).encode(),
    }
    return Delivery(files, report)


def _written(trained: Trained) -> tuple[bytes, bytes]:
    """The user's graph with the trained weights that matter, and what is delivered: it, or it without dead channels."""
    network = trained.network
    useful, W = useful_weights(trained.model, network), {k: w.detach().clone() for k, w in network.W().items()}
    network.set_W({k: w * useful[k] for k, w in W.items()})
    masked = write_back(trained.model, network)
    network.set_W(W)  # what is delivered is held against the network as it was trained
    pruned = shrink(masked) if trained.order.plan.deliver.remove else masked
    return masked.SerializeToString(), pruned.SerializeToString()


def _about_zeros(found: Tally) -> list[str]:
    """What users gain from the zeros, in words, and where they have gone too far."""
    if empty := [layer.name for layer in found.layers if not layer.kept]:
        return [f"no weight of {', '.join(empty[:5])} matters any more: the net was cut in two, ask for a lower rate"]
    notes = [SMALLER.format(found.removed)] if found.removed else []
    if found.zeros:
        notes.append(NO_SPEED)
    return notes


def _verify(pruned: bytes, trained: Trained, zeros: int) -> Checks:
    """Held against the trained network on random input and on real examples that are not the test split's."""
    onnx.checker.check_model(ModelProto.FromString(pruned))
    x = trained.dataset.train.prepared(slice(0, min(EXAMPLES_COMPARED, len(trained.dataset.train))))
    found = [compare(pruned, trained.network, batch) for batch in (x, _noise(x))]
    limit = HALF_LIMIT if _is_half(trained) else LIMIT
    if not all(agreement is not None and agreement.relative <= limit for agreement in found):
        raise WrongDelivery
    worst = max(agreement.max_abs for agreement in found if agreement is not None)
    return Checks(opens=True, checker=True, agrees_max_abs=worst, zeros_counted=zeros)


def _noise(x: Feeds) -> dict[str, np.ndarray]:
    """Random numbers as large as these; whole numbers, such as token ids, in another order."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.random(v.shape, dtype=np.float32) * max(float(np.abs(v).max()), 1e-6)).astype(v.dtype)
        if v.dtype.kind == "f"
        else rng.permuted(v.reshape(-1)).reshape(v.shape)
        for name, v in x.items()
    }


def _is_half(trained: Trained) -> bool:
    tensors = stored_tensors(trained.model)
    return any(tensors[s.tensor].data_type in HALVES for s in trained.network.sources.values())


def _accuracy(pruned: bytes, trained: Trained) -> tuple[Accuracy, list[str]]:
    """On the test split, of both files; and what somebody should look into before using the pruned one."""
    dense_counts, pruned_counts = _counts(pruned, trained)
    objective, test = trained.objective, trained.dataset.test
    goal, metric = objective.goal, METRICS[objective.goal.metric]
    dense, after = metric.value(dense_counts), metric.value(pruned_counts)
    accuracy = Accuracy(
        metric=goal.metric,
        dense=dense,
        pruned=after,
        drop=objective.score(dense) - objective.score(after),
        examples=len(test),
    )
    x = test.prepared(slice(0, min(LOOKED_AT, len(test))))
    text = doubt(goal, dense_counts, trained.order.preprocess, x)
    notes = [*([text] if text else []), *_notes(accuracy, goal.has_targets)]
    return accuracy, [*notes, *_other_outputs(pruned, trained)]


def _other_outputs(pruned: bytes, trained: Trained) -> list[str]:
    """What became of the outputs that the accuracy says nothing of."""
    goal, r2 = trained.objective.goal, METRICS["r2"]
    sessions, counts = (session(trained.order.model), session(pruned)), dict[str, np.ndarray]()
    names = [name for name in trained.network.outputs if name != goal.output]
    for x, _ in trained.dataset.test.batches(EVALUATION_BATCH) if names else ():
        dense, after = (run(s, x) for s in sessions)
        for name in (n for n in names if dense[n].dtype.kind == "f"):
            counts[name] = counts.get(name, 0.0) + r2.count(after[name], dense[name], goal, "logits")
    return [
        f"output {name!r} was kept near the dense model's: R2 {r2.value(c):.4f} on the test split (1 is all of it)"
        for name, c in counts.items()
    ]


def _counts(pruned: bytes, trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """What the metric is made from, for the dense and the pruned file; without targets the dense file is right."""
    goal = trained.objective.goal
    ending = trained.network.gives[goal.output]
    count = METRICS[goal.metric].count
    sessions = session(trained.order.model), session(pruned)
    totals: list[np.ndarray] = []
    for x, y in trained.dataset.test.batches(EVALUATION_BATCH):
        outputs = [run(s, x)[goal.output] for s in sessions]
        right = outputs[0] if y is None else y
        totals.append(np.stack([count(output, right, goal, ending) for output in outputs]))
    dense, after = np.sum(totals, axis=0)
    return dense, after


def _report(pruned: bytes, trained: Trained, measured: Measured) -> Report:
    compression = _compression(pruned, trained, measured.layers)
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
        notes=measured.notes,
        manifest=_manifest(trained),
    )


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


def _notes(accuracy: Accuracy, has_targets: bool) -> list[str]:
    found = []
    if not has_targets:
        found.append("the data set has no labels: the dense file counts as right, and reaches 1 by definition")
    is_error = accuracy.metric == "mse"
    if accuracy.drop > (LARGE_GROWTH * accuracy.dense if is_error else LARGE_DROP):
        lost = f"{accuracy.drop / max(accuracy.dense, 1e-12):.0%} more error" if is_error else ""
        found.append(
            f"the pruned file {f'makes {lost}' if lost else f'lost {100 * accuracy.drop:.1f} points'}: "
            "ask for a lower rate, or more rounds and epochs"
        )
    return found


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
