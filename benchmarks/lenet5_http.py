"""LeNet-5 on MNIST at 20x through HTTP, with the default plan."""

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from secateur import Secateur

from benchmarks.results import DATA, running_service, save


def main() -> None:
    with running_service() as (url, _, _), Secateur(url) as client, tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        job = client.prune(DATA / "lenet5.onnx", DATA / "mnist.npz", rate=20).wait()
        seconds = time.perf_counter() - start
        report = job.report()
        counted = _top1(job.download(folder, "pruned.onnx")[0])
    plan = report["manifest"]["plan"]
    epochs = plan["admm"]["rounds"] * plan["admm"]["epochs_per_round"] + plan["retrain"]["epochs"]
    save(
        "lenet5_http",
        {
            "top-1 of the dense file": report["accuracy"]["dense"],
            "top-1 of the delivered file (report)": report["accuracy"]["pruned"],
            "top-1 of the delivered file (counted here)": counted,
            "pruning rate": round(report["compression"]["pruning_rate"], 3),
            "epochs in all": epochs,
            "seconds, uploads and report included": round(seconds, 1),
        },
    )


def _top1(path: Path) -> float:
    data = np.load(DATA / "mnist.npz")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    output = session.run(None, {"input": data["x_test"].astype(np.float32)})[0]
    return float((np.asarray(output).argmax(1) == data["y_test"]).mean())


if __name__ == "__main__":
    main()
