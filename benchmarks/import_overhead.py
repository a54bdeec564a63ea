"""What importing costs: a training step of an imported net against the module that it was exported from; vet, analyse.

Usage: python -m benchmarks.import_overhead [--pairs 60]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.nets import NETS
from benchmarks.results import HOUSE, save
from pruning.errors import RejectedModel
from pruning.onnx.analyse import analyse
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet

STEPS = (("lenet", 64), ("lenet", 128), ("resnet20", 32), ("mobilenet_v2", 16))
LARGE = "resnet50"
WARM = 5
EXPORT = """
import sys, warnings
from pathlib import Path
from benchmarks.nets import NETS
from benchmarks.nets.export import export
warnings.simplefilter("ignore")
net = NETS[sys.argv[1]]
export(net.build(seasoned=True), net, "torchscript, BatchNormalization kept", "dynamic", Path(sys.argv[2]))
"""
IMPORT = """
import json, sys, time
start = time.perf_counter()
from pathlib import Path
from pruning.onnx.analyse import analyse
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
content = Path(sys.argv[1]).read_bytes()
imported = time.perf_counter()
model = vet(content)
vetted = time.perf_counter()
analyse(unshare(model))
end = time.perf_counter()
print(json.dumps({"imports": imported - start, "vet": vetted - imported, "analyse": end - vetted}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60, help="paired training steps of each net")
    arguments = parser.parse_args()
    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, batch in STEPS:
            what = f"{name}, batch {batch}"
            try:
                own, imported = _paired_steps(name, batch, Path(folder), arguments.pairs)
            except RejectedModel as error:
                values[f"{what}: refused"] = str(error)
                continue
            ratio = statistics.median(b / a for a, b in zip(own, imported, strict=True))
            values[f"{what}: imported / hand-written (median of pairs)"] = round(ratio, 4)
            values[f"{what}: hand-written step, ms (median)"] = round(statistics.median(own) * 1e3, 3)
        values |= _large(Path(folder))
    save("import_overhead", values)


def _paired_steps(name: str, batch: int, folder: Path, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of steps of both kinds in turn; every second pair begins with the other kind."""
    net = NETS[name]
    (x,) = net.batch(batch).values()
    labels = torch.randint(0, 10, (batch,))
    own = net.build(seasoned=True).train()
    own.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = analyse(unshare(vet(_exported(name, folder).read_bytes())))[1]
    network.to(torch.device("cpu"))
    network.module.train()
    forwards: list[Callable[[Tensor], Tensor]] = [own, lambda x: network({network.inputs[0]: x})[network.outputs[0]]]
    works = [_step(f, m, x, labels) for f, m in zip(forwards, (own, network.module), strict=True)]
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(WARM + pairs):
        for kind in (0, 1) if i % 2 else (1, 0):
            start = time.perf_counter()
            works[kind]()
            times[kind].append(time.perf_counter() - start)
    return times[0][WARM:], times[1][WARM:]


def _step(forward: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.Adam(module.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(forward(x), labels).backward()
        optimizer.step()

    return step


def _large(folder: Path) -> dict[str, Any]:
    """Vet and analyse a model of 100 MB in a new process, the median of three."""
    path = _exported(LARGE, folder)
    found, whole = [], []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", IMPORT, str(path)], cwd=HOUSE, capture_output=True, text=True)
        whole.append(time.perf_counter() - start)
        if done.returncode:
            return {f"{LARGE}: not taken": done.stderr.strip().split("\n")[-1][:300]}
        found.append(json.loads(done.stdout))
    median = {k: statistics.median(f[k] for f in found) for k in found[0]}
    return {
        f"{LARGE}: file, MB": round(path.stat().st_size / 1e6, 1),
        f"{LARGE}: vet, s": round(median["vet"], 2),
        f"{LARGE}: analyse, s": round(median["analyse"], 2),
        f"{LARGE}: both, s": round(median["vet"] + median["analyse"], 2),
        f"{LARGE}: imports, s": round(median["imports"], 2),
        f"{LARGE}: whole process, s": round(statistics.median(whole), 2),
    }


def _exported(name: str, folder: Path) -> Path:
    """With its BatchNormalization, so that both nets train the same parameters."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        subprocess.run(
            [sys.executable, "-c", EXPORT, name, str(path)], cwd=HOUSE, check=True, stdout=subprocess.DEVNULL
        )
    return path


if __name__ == "__main__":
    main()
