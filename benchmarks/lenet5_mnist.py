"""The records on LeNet-5 and MNIST, a row at a time: `[--seeds 0 1 2] [--threads 1] [ROW ...]`.

Every row begins with the dense net that the first job trains from lenet5.onnx (a plan of rate 1), or with lenet5.onnx
itself; every job is one of the product's own, and every accuracy that of the delivered file in ONNX Runtime on the test
split, which nothing was chosen by. Rates are of the 430,500 weights. A row is written as soon as it is done.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from benchmarks.results import DATA, HOUSE, read_rows, save
from pruning.__main__ import Terminal
from pruning.deliver import Delivery
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan

WEIGHTS = 430_500
DENSE = HOUSE / "benchmarks" / "cache" / "lenet5_dense.onnx"
TRAIN = {"augment": "shift", "precision": "mixed"}
TEACH = {"weight": 0.8, "temperature": 3, "fades": True}
UNITS = {  # about 160 of 570 filters and neurons are nearly as good as all; the dense net goes on as their teacher
    "method": "gradual",
    "budget": {"pruning_rate": 7},
    "importance": "fisher",
    "gradual": {"units": 0.28, "unit_epochs": 8, "epochs": 1, "first_rate": 7, "learning_rate": 2e-3},
    "retrain": {"epochs": 6, "learning_rate": 2e-3, "average": 0.998},
    "distill": TEACH,
    "train": TRAIN,
}


def gradual(rate: float, epochs: int, retrain: int, **more: Any) -> dict[str, Any]:
    """Weights go while the rate rises, by their estimated effect on the loss."""
    return {
        "method": "gradual",
        "budget": {"pruning_rate": rate},
        "importance": "fisher",
        "gradual": {"epochs": epochs, "first_rate": 1, "learning_rate": 6e-3},
        "retrain": {"epochs": retrain, "learning_rate": 1e-2, "average": 0.998},
        "distill": TEACH,
        "train": TRAIN,
        **more,
    }


def staged(method: str, **more: Any) -> dict[str, Any]:
    """ADMM with the projection in Fisher's norm."""
    return {"method": method, "importance": "fisher", "distill": TEACH, "train": TRAIN, **more}


ADMM = {"rounds": 16, "epochs_per_round": 0.5, "rho": 1e-3, "rho_growth": 1.4, "learning_rate": 1e-3}
LEVELS = {
    "bits": 2,
    "layers": [{"match": "conv*", "bits": 3}, {"match": "ip2", "bits": 3}],
    "admm": {"rounds": 16, "epochs_per_round": 0.5, "rho": 1e-3, "rho_growth": 1.4, "learning_rate": 1e-3},
    "retrain": {"epochs": 6, "learning_rate": 1e-3},
}
SLOWER = {
    "quantize": LEVELS
    | {
        "admm": {"rounds": 24, "epochs_per_round": 0.5, "rho": 1e-3, "rho_growth": 1.3, "learning_rate": 1.5e-3},
        "retrain": {"epochs": 8, "learning_rate": 1e-3},
    }
}
NARROW = {  # so many filters, filters and neurons: where few places are left, places cost few bytes
    "method": "gradual",
    "pattern": {"kind": "filter"},
    "budget": {"pruning_rate": 1.01},
    "layers": [
        {"match": "conv1", "sparsity": 1 - 7 / 20},
        {"match": "conv2", "sparsity": 1 - 14 / 50},
        {"match": "ip1", "sparsity": 1 - 24 / 500},
        {"match": "ip2", "exclude": True},
    ],
    "importance": "fisher",
    "gradual": {"epochs": 6, "first_rate": 1, "learning_rate": 4e-3},
    "retrain": {"epochs": 1, "learning_rate": 2e-3, "average": 0.998},
    "distill": TEACH,
    "train": TRAIN,
}
ON_LEVELS = {  # what is zero stays zero
    "budget": {"pruning_rate": 1},
    "admm": {"rounds": 1, "epochs_per_round": 0.01, "regrow": False},
    "retrain": {"epochs": 0},
    "quantize": LEVELS,
    "distill": TEACH,
    "train": TRAIN,
}
# Plans, one job after another; a rate asked for is of all weights, and turned into that of what the job before left.
ROWS: dict[str, list[dict[str, Any]]] = {
    "direct 71.2x": [
        staged(
            "direct",
            budget={"pruning_rate": 71.2},
            admm=ADMM,
            retrain={"epochs": 10, "learning_rate": 4e-3, "average": 0.998},
        )
    ],
    "progressive 167x": [
        staged(
            "progressive",
            budget={"pruning_rate": 167},
            progressive={"rates": [40, 100]},
            admm=ADMM | {"rounds": 8, "rho_growth": 2},
            retrain={"epochs": 8, "learning_rate": 8e-3, "average": 0.998},
        )
    ],
    "highest rate": [UNITS, gradual(280, 30, 24)],
    "quantized": [ON_LEVELS],  # it begins with the file of the row before
    "smallest file": [NARROW, gradual(WEIGHTS / 1825, 30, 24), ON_LEVELS | SLOWER | {"deliver": {"biases": "int8"}}],
    "joint, holistic": [
        staged(
            "joint",
            budget={"pruning_rate": 25},
            joint={"units": 0.4},
            admm=ADMM,
            retrain={"epochs": 8, "learning_rate": 4e-3, "average": 0.998},
        )
    ],
    "lose at most 0.2 points": [
        staged(
            "progressive",
            budget={"max_accuracy_drop": 0.002},
            search={"first_rate": 100, "factor": 2.2, "refinements": 1},
            admm=ADMM | {"rounds": 8, "rho_growth": 2},
            retrain={"epochs": 8, "learning_rate": 8e-3, "average": 0.998},
        )
    ],
}
FROM_GIVEN = ("lose at most 0.2 points",)  # rows that begin with lenet5.onnx as it is
AFTER = {"quantized": "highest rate"}  # rows that begin with the file of another, and have the dense net as a teacher
SEEDS = {"smallest file": 1, "joint, holistic": 1, "lose at most 0.2 points": 1}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if not DENSE.exists():
        DENSE.parent.mkdir(exist_ok=True)
        DENSE.write_bytes(dense())
    for row in options.rows or ROWS:
        for seed in options.seeds[: SEEDS.get(row)]:
            write(row, seed, run(row, seed))


def dense() -> bytes:
    """lenet5.onnx trained on: what every row but those of FROM_GIVEN begins with."""
    plan = {
        "budget": {"pruning_rate": 1},
        "admm": {"rounds": 1, "epochs_per_round": 0.01},
        "retrain": {"epochs": 16, "learning_rate": 2e-3, "average": 0.999},
        "train": TRAIN,
    }
    return job((DATA / "lenet5.onnx").read_bytes(), plan, 0).files["pruned.onnx"]


def job(model: bytes, plan: dict[str, Any], seed: int, teacher: bytes | None = None) -> Delivery:
    """One job of the product."""
    settled = Plan.model_validate(plan | {"train": {**plan.get("train", {}), "seed": seed}})
    with tempfile.TemporaryDirectory() as folder:
        return prune(Order(model, DATA / "mnist.npz", settled, cache=Path(folder), teacher=teacher), Terminal())


def run(row: str, seed: int) -> dict[str, Any]:
    """The jobs of a row; counted on the last file, which is kept."""
    dense = (DATA / "lenet5.onnx" if row in FROM_GIVEN else DENSE).read_bytes()
    start = kept_file(AFTER[row], seed).read_bytes() if row in AFTER else dense
    made: list[Delivery] = []
    for i, plan in enumerate(ROWS[row]):
        if i:
            start = made[-1].files["pruned.onnx"]
            plan = plan | {"budget": {"pruning_rate": _rate_of_what_is_left(plan, start)}}
        if i < len(ROWS[row]) - 1:  # layers stay as they are, to be pruned on
            plan = plan | {"deliver": {"rewrite": False}}
        made.append(job(start, plan, seed, dense if i or row in AFTER else None))
    content, report = made[-1].files["pruned.onnx"], made[-1].report
    kept_file(row, seed).write_bytes(content)
    kept = int(np.count_nonzero(_weights(content)))
    return {
        "top1": report.accuracy.pruned,
        "top1 of the file the last job began with": report.accuracy.dense,
        "rate": round(WEIGHTS / kept, 1),
        "weights": kept,
        "by layer": {layer.name: layer.kept for layer in report.layers},
        "bits": {layer.name: layer.bits for layer in report.layers},
        "neurons and filters left": _units(content),
        "bytes": report.compression.bytes.pruned,
        "packed bytes": report.compression.bytes.packed,
        "packed top1": report.packed.accuracy or report.accuracy.pruned if report.packed else None,
        "seconds": round(sum(d.report.manifest.seconds for d in made)),
    }


def _rate_of_what_is_left(plan: dict[str, Any], start: bytes) -> float:
    return max(1, plan["budget"]["pruning_rate"] * _weights(start).size / WEIGHTS)


def kept_file(row: str, seed: int) -> Path:
    """Where the delivered file of a row lies, for rows that begin with it."""
    return DENSE.with_name(f"lenet5 {row} {seed}.onnx")


def _weights(content: bytes) -> np.ndarray:
    tensors = [numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer]
    return np.concatenate([t.ravel() for t in tensors if t.ndim > 1 and t.dtype == np.float32])


def _units(content: bytes) -> list[int]:
    biases = [t for t in onnx.load_from_string(content).graph.initializer if len(t.dims) == 1]
    return [int(t.dims[0]) for t in biases if t.data_type == onnx.TensorProto.FLOAT]


def write(row: str, seed: int, found: dict[str, Any]) -> None:
    """Into the results, beside what is there of other rows and seeds."""
    rows = read_rows("lenet5_mnist")
    seeds = {k: v for k, v in rows.get(row, {}).items() if k.startswith("seed")} | {f"seed {seed}": found}
    median = statistics.median(v["top1"] for v in seeds.values())
    rows[row] = {"plans": ROWS[row], "median top1": median, **dict(sorted(seeds.items()))}
    save("lenet5_mnist", {k: rows[k] for k in ROWS if k in rows})


if __name__ == "__main__":
    main()
