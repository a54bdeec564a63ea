"""Whether a file is taken, its network trains, and the file written back computes what was trained."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor
from torch.nn import functional as F

from pruning.analysis import Port
from pruning.errors import RejectedModel
from pruning.measure import Feeds
from pruning.onnx.agree import compare
from pruning.onnx.analyse import analyse, random_input
from pruning.onnx.dtypes import FLOATS
from pruning.onnx.network import Network
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from pruning.onnx.writeback import write_back

LARGEST_RELATIVE = 1e-4
LARGEST_RELATIVE_HALF = 1e-2  # weights are rounded to 11 bits, and ONNX Runtime computes with as many
EXAMPLES = 4


@dataclass(frozen=True)
class Verdict:
    """What became of a file.

    verdict: ready; refused (why: our sentence); wrong (why: what broke after it had been taken).
    relative: largest difference of the file written back from the trained network, over the largest output.
    seconds: of vet, unshare and analyse.
    """

    verdict: str
    why: str = ""
    relative: float | None = None
    layers: int = 0
    weights: int = 0
    seconds: float = 0.0


def judge(content: bytes, feeds: Feeds | None = None) -> Verdict:
    """Args: feeds: a batch for every input; random from the file's own shapes if None."""
    start = time.perf_counter()
    try:
        model = unshare(vet(content))
        analysis, network = analyse(model)
    except RejectedModel as error:
        return Verdict("refused", str(error), seconds=round(time.perf_counter() - start, 3))
    except Exception as error:  # noqa: BLE001  # any other is a fault of ours, and a row of its own
        return Verdict("wrong", f"analysis: {_sentence(error)}", seconds=round(time.perf_counter() - start, 3))
    seconds = round(time.perf_counter() - start, 3)
    known = {"layers": len(analysis.layers), "weights": analysis.weights, "seconds": seconds}
    try:
        relative = _train_and_reopen(model, network, feeds or random_feeds(analysis.inputs))
    except Exception as error:  # noqa: BLE001  # as above
        return Verdict("wrong", f"training: {_sentence(error)}", **known)
    if isinstance(relative, str):
        return Verdict("wrong", relative, **known)
    known["relative"] = float(f"{relative:.2g}")
    half = any(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)
    if relative > (LARGEST_RELATIVE_HALF if half else LARGEST_RELATIVE):
        return Verdict("wrong", f"written back, it differs by {relative:.2g} of its largest output", **known)
    return Verdict("ready", **known)


def random_feeds(ports: Iterable[Port]) -> dict[str, np.ndarray]:
    """Four examples of every input."""
    return {port.name: random_input(port, EXAMPLES) for port in ports}


def training_step(network: Network, x: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Cross-entropy against seeded labels where the first output is one row of scores for each example."""
    network.module.train()
    optimizer.zero_grad()
    output = network(x)[network.outputs[0]].float()
    if output.dim() == 2 and output.shape[1] > 1:
        labels = torch.randint(0, output.shape[1], output.shape[:1], generator=torch.Generator().manual_seed(0))
        loss = F.cross_entropy(output, labels)
    else:
        loss = output.square().mean()
    loss.backward()
    optimizer.step()
    network.module.eval()


def blank(model: ModelProto) -> ModelProto:
    """A copy without the values of stored floats: all that training may change. Integers stay."""
    copy = ModelProto()
    copy.CopyFrom(model)
    constants = [a.t for node in copy.graph.node if node.op_type == "Constant" for a in node.attribute]
    for tensor in (t for t in [*copy.graph.initializer, *constants] if t.data_type in FLOATS):
        for field in ("raw_data", "float_data", "double_data", "int32_data"):
            tensor.ClearField(field)
    return copy


def show(rows: Iterable[tuple[str, Verdict]]) -> list[dict[str, Any]]:
    """Print a line as each row comes; returns them as they go into the file."""
    found = []
    print(f"{'':<54} {'verdict':<8} {'relative':>9} {'layers':>6} {'weights':>11} {'s':>7}")
    for name, v in rows:
        relative = "" if v.relative is None else f"{v.relative:.1e}"
        print(f"{name:<54} {v.verdict:<8} {relative:>9} {v.layers:>6} {v.weights:>11,} {v.seconds:>7} {v.why}")
        found.append({"name": name} | asdict(v))
    return found


def _train_and_reopen(model: ModelProto, network: Network, feeds: Feeds) -> float | str:
    before = {k: p.detach().clone() for k, p in network.module.named_parameters()}
    tensors = {k: torch.from_numpy(v) for k, v in feeds.items()}
    training_step(network, tensors, torch.optim.Adam(network.module.parameters(), 1e-3))
    changed = [k for k, p in network.module.named_parameters() if not torch.equal(before[k], p)]
    if not changed:
        return "training: no parameter changed"
    if not all(p.isfinite().all() for p in network.module.parameters()):
        return "training: a parameter is not finite after one step"
    written = write_back(model, network)
    if blank(written) != blank(model):
        return "written back, its nodes have changed"
    agreement = compare(written.SerializeToString(), network, feeds)
    return "written back, its outputs have other shapes" if agreement is None else agreement.relative


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
