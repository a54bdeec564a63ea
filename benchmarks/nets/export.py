"""A net as ONNX files, by each of PyTorch's exporters; run as a program, so that their output is its own.

python -m benchmarks.nets.export NET FOLDER
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.nets import NETS, Net

Exporter = Literal["dynamo", "torchscript", "torchscript, BatchNormalization kept"]
Batch = Literal["static", "dynamic"]

FORMS: dict[str, tuple[Exporter, Batch]] = {
    "dynamo_static": ("dynamo", "static"),
    "dynamo_dynamic": ("dynamo", "dynamic"),
    "torchscript_static": ("torchscript", "static"),
    "torchscript_dynamic": ("torchscript", "dynamic"),
    "torchscript_bn_dynamic": ("torchscript, BatchNormalization kept", "dynamic"),
}


def export_all(name: str, folder: Path) -> None:
    """FOLDER/NET-FORM.onnx for every form, and FOLDER/NET.json: seconds of each, or why its exporter failed."""
    said: dict[str, float | str] = {}
    for form, (exporter, batch) in FORMS.items():
        module = NETS[name].build()
        if form == "torchscript_bn_dynamic" and not any(isinstance(m, nn.BatchNorm2d) for m in module.modules()):
            continue
        start = time.perf_counter()
        try:
            export(module, NETS[name], exporter, batch, folder / f"{name}-{form}.onnx")
            said[form] = round(time.perf_counter() - start, 2)
        except Exception as error:  # noqa: BLE001  # exporters raise what they like; it is their result
            said[form] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    (folder / f"{name}.json").write_text(json.dumps(said))


def export(module: nn.Module, net: Net, exporter: Exporter, batch: Batch, path: Path) -> None:
    """One file with its weights inside; axis 0 of every input is the batch."""
    feed = net.batch(1 if batch == "static" else 2)
    arguments: dict[str, Any] = {"input_names": list(feed), "output_names": ["output"]}
    if exporter == "dynamo":
        if batch == "dynamic":
            arguments["dynamic_shapes"] = tuple({0: "batch"} for _ in feed)
        torch.onnx.export(module, tuple(feed.values()), path, dynamo=True, external_data=False, **arguments)
        return
    if batch == "dynamic":
        arguments["dynamic_axes"] = {k: {0: "batch"} for k in [*feed, "output"]}
    if exporter != "torchscript":
        # PRESERVE in evaluation mode: unlike EVAL it does not fold BatchNormalization into Conv
        arguments["training"] = torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(module, tuple(feed.values()), str(path), dynamo=False, opset_version=17, **arguments)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX counterpart
    export_all(sys.argv[1], Path(sys.argv[2]))
