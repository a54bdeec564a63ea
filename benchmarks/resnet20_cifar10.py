"""ResNet-20 on CIFAR-10 (the JPEG copy), a row at a time: `[--threads 1] [ROW ...]`.

The first job trains resnet20.onnx on this copy (a plan of rate 1), from what it gives on the lossless set; every row
begins with that net. "dense, as long" is the same net trained on for as many epochs as a row takes, by the same
optimizer and schedule: what the pruned ones are held against. Accuracies are those of delivered files in ONNX Runtime,
on the test split, which nothing was chosen by. A row is written as soon as it is done.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import DATA, HOUSE, read_rows, save
from pruning.__main__ import Terminal
from pruning.analysis import Preprocess
from pruning.deliver import Delivery
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan

CIFAR = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
DENSE = HOUSE / "benchmarks" / "cache" / "resnet20_dense.onnx"
TRAIN = {
    "optimizer": "sgd",
    "augment": "crop_flip",
    "weight_decay": 5e-4,
    "precision": "mixed",
    "batch_size": 128,
}
RISING, EPOCHS = 3, 5  # while the rate rises, and after; 8 in all
PRUNE = {
    "method": "gradual",
    "importance": "fisher",
    "gradual": {"epochs": RISING, "first_rate": 1, "learning_rate": 0.02},
    "retrain": {"epochs": EPOCHS, "learning_rate": 0.03},
    "distill": {"weight": 0.5, "temperature": 4},
    "train": TRAIN,
}


def trained(epochs: float, rate: float) -> dict[str, Any]:
    """No pruning: a plan of rate 1."""
    return {
        "budget": {"pruning_rate": 1},
        "admm": {"rounds": 1, "epochs_per_round": 0.02, "learning_rate": 1e-3},
        "retrain": {"epochs": epochs, "learning_rate": rate},
        "train": TRAIN,
    }


ROWS: dict[str, dict[str, Any]] = {
    "dense, as long": trained(RISING + EPOCHS, 0.03),
    "filters, half the multiply-adds": PRUNE | {"pattern": {"kind": "filter"}, "budget": {"multiply_adds_share": 0.5}},
    "2:4 in every layer": PRUNE | {"pattern": {"kind": "n_m", "n": 2, "m": 4}, "budget": {"pruning_rate": 1.9}},
    "unstructured, 10x": PRUNE | {"budget": {"pruning_rate": 10}},
    "columns, 4x": PRUNE | {"pattern": {"kind": "column"}, "budget": {"pruning_rate": 4.05}},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if not DENSE.exists():
        DENSE.parent.mkdir(exist_ok=True)
        DENSE.write_bytes(job((DATA / "resnet20.onnx").read_bytes(), trained(18, 0.05)).files["pruned.onnx"])
    for row in options.rows or ROWS:
        write(row, counted(job(DENSE.read_bytes(), ROWS[row])))


def job(model: bytes, plan: dict[str, Any]) -> Delivery:
    """One job of the product."""
    with tempfile.TemporaryDirectory() as folder:
        order = Order(
            model,
            DATA / "cifar10_jpeg.tar.gz",
            Plan.model_validate(plan),
            data_format="imagefolder",
            preprocess=CIFAR,
            cache=Path(folder),
        )
        return prune(order, Terminal())


def counted(delivery: Delivery) -> dict[str, Any]:
    """What the report says of the delivered file."""
    report = delivery.report
    convolutions = [layer for layer in report.layers if layer.kind == "conv"]
    return {
        "top1": report.accuracy.pruned,
        "top1 of the file it begins with": report.accuracy.dense,
        "rate": round(report.compression.pruning_rate, 2),
        "rate of the convolutions": round(sum(x.weights for x in convolutions) / sum(x.kept for x in convolutions), 2),
        "multiply-adds": report.compression.multiply_adds.pruned / report.compression.multiply_adds.dense,
        "bytes": report.compression.bytes.model_dump(),
        "speedup in ONNX Runtime": round(report.latency.speedup, 2),
        "convergence": report.convergence.ended,
        "seconds": round(report.manifest.seconds),
    }


def write(row: str, found: dict[str, Any]) -> None:
    """Into the results, beside what is there of other rows."""
    rows = read_rows("resnet20_cifar10")
    rows[row] = {"plan": ROWS[row], **found}
    save("resnet20_cifar10", {k: rows[k] for k in ROWS if k in rows})


if __name__ == "__main__":
    main()
