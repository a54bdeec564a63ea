"""Whether BatchNormalization put back behind the convolutions helps training: the same plan with it and without.

ResNet-20 with its BatchNormalization folded by ONNX Runtime, as exporters fold it, on a fifth of CIFAR-10 (JPEG);
and LeNet-5, which never had any, on MNIST.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.results import DATA, save
from pruning.__main__ import Terminal
from pruning.analysis import Preprocess
from pruning.data.cache import Source, read
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan

CIFAR = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
ROUNDS = {
    "admm": {"rounds": 6, "epochs_per_round": 0.5, "rho": 0.03, "rho_growth": 1.5, "learning_rate": 1e-3},
    "retrain": {"epochs": 4},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cifar = part_of_cifar(Path(folder))
        folded = folded_by_onnx_runtime(DATA / "resnet20.onnx", Path(folder) / "folded.onnx")
        lenet = (DATA / "lenet5.onnx").read_bytes()
        jobs = {
            "ResNet-20, folded, 4x": Order(folded, cifar, plan(4), preprocess=CIFAR),
            "LeNet-5, never had any, 30x": Order(lenet, DATA / "mnist.npz", plan(30)),
        }
        found = {name: both(order) for name, order in jobs.items()}
    save("batch_norm", {"plan": ROUNDS, "top1": found})


def both(order: Order) -> dict[str, float]:
    """Test accuracy of the dense file, and of the pruned one trained without and with BatchNormalization."""
    found: dict[str, float] = {}
    for with_it in (False, True):
        train = order.plan.train.model_copy(update={"insert_batch_norm": with_it})
        given = Order(
            order.model, order.data, order.plan.model_copy(update={"train": train}), preprocess=order.preprocess
        )
        accuracy = prune(given, Terminal()).report.accuracy
        found |= {"dense": accuracy.dense, "with" if with_it else "without": accuracy.pruned}
    return found


def plan(rate: float) -> Plan:
    """A short one: what is compared is the same for both."""
    return Plan.model_validate({"budget": {"pruning_rate": rate}, **ROUNDS})


def part_of_cifar(folder: Path) -> Path:
    """10,000 training images and all test images, as they are stored."""
    data = read(Source(DATA / "cifar10_jpeg.tar.gz", "imagefolder"))
    chosen = np.random.default_rng(0).permutation(len(data.train))[:10_000]
    arrays: dict[str, np.ndarray] = {}
    for name, split in (("train", data.train.subset(np.sort(chosen))), ("test", data.test)):
        rows = slice(None) if split.rows is None else split.rows
        assert split.y is not None
        arrays |= {f"x_{name}": next(iter(split.x.values()))[rows], f"y_{name}": split.y[rows]}
    np.savez(folder / "cifar.npz", **arrays)  # type: ignore[arg-type]
    return folder / "cifar.npz"


def folded_by_onnx_runtime(path: Path, into: Path) -> bytes:
    """The file as ONNX Runtime's basic optimizations leave it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(into)
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return into.read_bytes()


if __name__ == "__main__":
    main()
