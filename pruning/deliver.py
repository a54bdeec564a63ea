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
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from safetensors.torch import save

from pruning.data.dataset import Dataset
from pruning.errors import WrongDelivery
from pruning.listener import Listener
from pruning.measure import Latency, gzip_bytes, latency, top1
from pruning.onnx.agree import compare
from pruning.onnx.convert import stored_tensors
from pruning.onnx.network import Network
from pruning.onnx.writeback import write_back
from pruning.order import Order
from pruning.report import (
    Accuracy,
    Bytes,
    Checks,
    Compression,
    Convergence,
    LatencyReport,
    LayerReport,
    Manifest,
    Pair,
    Report,
)
from pruning.report_page import render

LIMIT, HALF_LIMIT = 1e-4, 2e-2  # relative; half precision rounds the weights
EXAMPLES_COMPARED = 64
LARGE_DROP = 0.05
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")
NO_SPEED = (
    "zeros anywhere in a layer make the file compress better; stock ONNX Runtime multiplies by them all the same, "
    "so the pruned file is as large on disk and as fast as the dense one"
)


@dataclass(frozen=True)
class Trained:
    """What the pipeline hands over. started is by time.monotonic()."""

    model: ModelProto
    network: Network
    dataset: Dataset
    order: Order
    convergence: Convergence
    device: str
    batch_size: int
    started: float


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
    pruned = write_back(trained.model, trained.network).SerializeToString()
    layers = _layers(pruned, trained.network)
    checks = _verify(pruned, trained, sum(layer.weights - layer.kept for layer in layers))
    listener.phase("measure", 0.92)
    accuracy = _accuracy(pruned, trained)
    times = latency(
        trained.order.model, pruned, {trained.network.inputs[0]: trained.dataset.test.prepared(slice(0, 1))}
    )
    listener.phase("report", 0.99)
    report = _report(pruned, trained, checks, layers, accuracy, times)
    files = {
        "pruned.onnx": pruned,
        "masks.safetensors": save({k: (w.detach() != 0).contiguous() for k, w in trained.network.W().items()}),
        "report.json": report.model_dump_json(indent=2).encode(),
        "report.html": render(report).encode(),
        "manifest.json": report.manifest.model_dump_json(indent=2).encode(),
    }
    return Delivery(files, report)


def _verify(pruned: bytes, trained: Trained, zeros: int) -> Checks:
    """Held against the trained network on random input and on real examples that are not the test split's."""
    onnx.checker.check_model(ModelProto.FromString(pruned))
    x = trained.dataset.train.prepared(slice(0, EXAMPLES_COMPARED))
    noise = np.random.default_rng(0).random(x.shape, dtype=np.float32) * max(float(np.abs(x).max()), 1e-6)
    found = [compare(pruned, trained.network, {trained.network.inputs[0]: batch}) for batch in (x, noise)]
    limit = HALF_LIMIT if _is_half(trained) else LIMIT
    if not all(agreement is not None and agreement.relative <= limit for agreement in found):
        raise WrongDelivery
    worst = max(agreement.max_abs for agreement in found if agreement is not None)
    return Checks(opens=True, checker=True, agrees_max_abs=worst, zeros_counted=zeros)


def _is_half(trained: Trained) -> bool:
    tensors = stored_tensors(trained.model)
    return any(tensors[s.tensor].data_type == TensorProto.FLOAT16 for s in trained.network.sources.values())


def _layers(pruned: bytes, network: Network) -> list[LayerReport]:
    """Counted in the file, not in memory."""
    tensors = stored_tensors(ModelProto.FromString(pruned))
    found = []
    for layer in network.layers.values():
        stored = numpy_helper.to_array(tensors[layer.weight])
        bits = 8 * stored.itemsize
        values = network.sources[network.weights[layer.name]].read(torch.from_numpy(stored.copy())).numpy()
        kept = int(np.count_nonzero(values))
        found.append(
            LayerReport(
                name=layer.name,
                kind=layer.kind,
                weights=values.size,
                kept=kept,
                sparsity=1 - kept / values.size,
                bits=bits,
                filters_removed=_empty_filters(values) if layer.kind in ("conv", "dense") else 0,
            )
        )
    return found


def _empty_filters(values: np.ndarray) -> int:
    return int((~values.reshape(len(values), -1).any(axis=1)).sum())


def _accuracy(pruned: bytes, trained: Trained) -> Accuracy:
    test = trained.dataset.test
    dense_right, examples = top1(trained.order.model, test.batches(500))
    pruned_right, _ = top1(pruned, test.batches(500))
    return Accuracy(
        dense=dense_right / examples,
        pruned=pruned_right / examples,
        drop=(dense_right - pruned_right) / examples,
        examples=examples,
    )


def _report(
    pruned: bytes, trained: Trained, checks: Checks, layers: list[LayerReport], accuracy: Accuracy, times: Latency
) -> Report:
    compression = _compression(pruned, trained, layers)
    return Report(
        headline=_headline(compression, accuracy, times),
        goal_met=compression.weights_kept <= trained.order.plan.budget.kept_of(compression.weights_total),
        accuracy=accuracy,
        compression=compression,
        latency=LatencyReport(
            runtime=f"onnxruntime {ort.__version__}", provider="CPUExecutionProvider", threads=1, **vars(times)
        ),
        layers=tuple(layers),
        convergence=trained.convergence,
        checks=checks,
        notes=(NO_SPEED, *_warnings(accuracy, trained.dataset)),
        manifest=_manifest(trained),
    )


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
        bytes=Bytes(dense=len(trained.order.model), pruned=len(pruned), pruned_gzip=gzip_bytes(pruned)),
    )


def _headline(compression: Compression, accuracy: Accuracy, times: Latency) -> str:
    return (
        f"{compression.weights_total:,} weights became {compression.weights_kept:,} "
        f"({compression.pruning_rate:.1f}x); top-1 {accuracy.dense:.2%} to {accuracy.pruned:.2%} on "
        f"{accuracy.examples:,} test examples; {compression.bytes.dense:,} bytes to {compression.bytes.pruned:,} "
        f"({compression.bytes.pruned_gzip:,} gzipped); {times.dense_ms:.3g} ms to {times.pruned_ms:.3g} ms "
        "in ONNX Runtime on one thread"
    )


def _warnings(accuracy: Accuracy, dataset: Dataset) -> list[str]:
    """What somebody should look into before using the file."""
    found = []
    classes = int(dataset.test.y.max()) + 1
    if accuracy.dense < 1.5 / classes:
        found.append(
            f"the dense file itself is right on {accuracy.dense:.1%} only, about as often as chance: are scale, mean "
            "and std those that the model was trained with, and the labels in its order?"
        )
    if accuracy.drop > LARGE_DROP:
        found.append(
            f"the pruned file lost {100 * accuracy.drop:.1f} points: ask for a lower rate, or more rounds and epochs"
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
        batch_size=trained.batch_size,
        seed=order.plan.train.seed,
        versions={"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        device=trained.device,
        seconds=round(time.monotonic() - trained.started, 3),
    )
