"""What the delivered file gains, a row at a time: `[ROW ...]`; dense and pruned run in turn, on one thread.

The nets have random weights, the zeros are set by rule before export: what is tried is removal, rewriting and packing,
not training. Rows of LeNet-5 begin with the files that `python -m benchmarks.lenet5_mnist` keeps.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import nn

from benchmarks.lenet5_mnist import kept_file
from benchmarks.nets import NETS, images
from benchmarks.nets.classic import alexnet_convolutions, vgg16
from benchmarks.results import DATA, read_rows, save
from pruning.measure import Feeds, latency, loading, run, session
from pruning.onnx.analyse import analyse
from pruning.onnx.constants import move_constants
from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import FLOATS
from pruning.onnx.pack import pack
from pruning.onnx.shrink import shrink
from pruning.onnx.unshare import unshare
from pruning.smaller import smaller

Row = Callable[[], dict[str, Any]]
CONV = nn.Conv2d
SECONDS = 15.0  # for choosing, and for measuring
LENET5 = DATA / "lenet5.onnx"


@dataclass(frozen=True)
class Net:
    """A module, and the side of the images that it takes."""

    module: nn.Module
    side: int

    def batch(self) -> Feeds:
        """One image."""
        return {"image": np.random.default_rng(0).random((1, 3, self.side, self.side), dtype=np.float32)}

    def export(self) -> ModelProto:
        """With the batch left open; BatchNormalization is folded, as the exporter does by itself."""
        named: dict[str, Any] = {"input_names": ["image"], "output_names": ["output"], "opset_version": 17}
        axes = {"image": {0: "batch"}, "output": {0: "batch"}}
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter that folds
            path, image = Path(folder) / "net.onnx", torch.from_numpy(self.batch()["image"])
            torch.onnx.export(self.module.eval(), (image,), str(path), dynamo=False, dynamic_axes=axes, **named)
            return onnx.load(path)


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, CONV)]


@torch.no_grad()
def drop_filters(layer: nn.Module, gone: torch.Tensor, norm: nn.Module | None = None) -> None:
    """These filters or neurons give zero whatever is fed. Args: gone: their places."""
    for part in (layer, norm):
        for parameter in part.parameters() if part is not None else ():
            parameter[gone] = 0


@torch.no_grad()
def drop_columns(layer: nn.Conv2d, share: float) -> None:
    """Random positions of a filter, the same in all filters of the layer."""
    flat = layer.weight.flatten(1)
    flat[:, places(flat.shape[1], share)] = 0
    layer.weight.copy_(flat.reshape(layer.weight.shape))


@torch.no_grad()
def keep_columns(layer: nn.Conv2d, read: torch.Tensor, share: float) -> None:
    """So many columns of all, at random among the channels that are there. Args: read: (in,) which these are."""
    flat = layer.weight.flatten(1)
    living = read.repeat_interleave(flat.shape[1] // len(read)).nonzero().flatten()
    kept = torch.zeros(flat.shape[1], dtype=torch.bool)
    kept[living[torch.randperm(len(living))[: round(share * flat.shape[1])]]] = True
    layer.weight.copy_((flat * kept).reshape(layer.weight.shape))


def places(count: int, share: float) -> torch.Tensor:
    """So many of them, at random."""
    return torch.randperm(count)[: round(count * share)]


def vgg(side: int, change: Callable[[nn.Module], None]) -> dict[str, Any]:
    torch.manual_seed(0)
    net = Net(vgg16(side), side)
    dense = net.export()
    change(net.module)
    return compared(dense, net.export(), net.batch())


def without_filters(share: float) -> Callable[[nn.Module], None]:
    """Of every layer but the last."""

    def change(module: nn.Module) -> None:
        layers = [m for m in module.modules() if isinstance(m, CONV | nn.Linear)]
        for layer in layers[:-1]:
            drop_filters(layer, places(len(layer.weight), share))

    return change


def without_columns(share: float) -> Callable[[nn.Module], None]:
    """Of every convolution but the first, which has 27."""

    def change(module: nn.Module) -> None:
        for layer in convolutions(module)[1:]:
            drop_columns(layer, share)

    return change


@torch.no_grad()
def resnet50_without_filters() -> dict[str, Any]:
    """Half the filters inside the blocks gone, and 3 of 8 of those that blocks are added to."""
    torch.manual_seed(0)
    net = Net(NETS["resnet50"].build(seasoned=True), 224)
    dense = net.export()
    stem = net.module.get_submodule("0")
    drop_together([stem], 0.5)
    for blocks in stages(net.module):
        for block in blocks:
            for name in ("body.0", "body.1"):
                drop_together([block.get_submodule(name)], 0.5)
        drop_together([*(b.get_submodule("body.2") for b in blocks), blocks[0].get_submodule("skip")], 3 / 8)
    return compared(dense, net.export(), net.batch())


def stages(module: nn.Module) -> list[list[nn.Module]]:
    """Blocks of a residual net that are added to each other's outputs: each begins where the skip is a layer."""
    found: list[list[nn.Module]] = []
    for block in (m for m in module.modules() if isinstance(m, images.Residual)):
        if not isinstance(block.skip, nn.Identity):
            found.append([])
        found[-1].append(block)
    return found


def drop_together(parts: list[nn.Module], share: float) -> None:
    """The same filters of several convolutions with their BatchNormalization."""
    gone = places(len(parts[0].get_submodule("conv").weight), share)  # type: ignore[arg-type]
    for part in parts:
        drop_filters(part.get_submodule("conv"), gone, part.get_submodule("bn"))


def alexnet() -> dict[str, Any]:
    """A fifteenth of the weights, counted when what nothing reads is gone, but for multiples of 16 channels."""
    dense = Net(seeded_alexnet(), 224).export()
    low, high = 0.02, 0.5
    while high / low > 1.005:
        share = (low * high) ** 0.5
        left = nonzeros(shrink(move_constants(Net(thin_alexnet(share), 224).export()), 16))
        low, high = (share, high) if left < nonzeros(dense) / 15 else (low, share)
    net = Net(thin_alexnet(low), 224)
    return compared(dense, net.export(), net.batch())


def seeded_alexnet() -> nn.Module:
    torch.manual_seed(0)
    return alexnet_convolutions()


@torch.no_grad()
def thin_alexnet(share: float) -> nn.Module:
    """Of the first layer a quarter of the filters and 7x7 of 11x11; of the last three so many of the columns.

    Of the second layer half as many: each of its weights meets four times as many pixels.
    """
    module = seeded_alexnet()
    first, *others = convolutions(module)
    border = torch.ones(first.weight.shape[2:], dtype=torch.bool)
    border[2:-2, 2:-2] = False
    first.weight[:, :, border] = 0
    drop_filters(first, places(len(first.weight), 0.75))
    read = first.weight.flatten(1).any(1)
    for i, layer in enumerate(others):
        keep_columns(layer, read, share if i else share / 2)
        read = torch.ones(len(layer.weight), dtype=torch.bool)
    return module


def lenet5_compact() -> dict[str, Any]:
    """The file that a job delivered, against lenet5.onnx."""
    masked = ModelProto.FromString(kept_file("progressive 167x", 0).read_bytes())
    return compared(onnx.load_from_string(LENET5.read_bytes()), masked, mnist(1)[0])


def lenet5_packed(row: str, **options: Any) -> dict[str, Any]:
    """Real bytes of the packed file, and top-1 of that file on the 10,000 test images."""
    x, _ = mnist(64)
    model = ModelProto.FromString(kept_file(row, 0).read_bytes())
    found = smaller(model, x, quantized=row == "smallest file", seconds=SECONDS).model
    packed = pack(found, **options)
    return {
        "weights": sum(t.nonzeros for t in packed.tensors),
        "bytes": len(packed.content),
        "times smaller": round(LENET5.stat().st_size / len(packed.content), 1),
        "exact": packed.exact,
        "top1": top1(packed.content),
        "top1 of pruned.onnx": top1(found.SerializeToString()),
        "codecs": {t.name: f"{t.codec}: {t.nonzeros:,} in {t.after:,} bytes" for t in packed.tensors},
    }


def resnet50_packed(levels: int | None) -> dict[str, Any]:
    """The smallest tenth gone: random weights, 90 % zero. Args: levels: values that are left of each layer's."""
    torch.manual_seed(0)
    net = Net(NETS["resnet50"].build(seasoned=True), 224)
    dense = net.export()
    model = ModelProto()
    model.CopyFrom(dense)
    for tensor in (t for t in stored_tensors(model).values() if t.data_type in FLOATS and len(t.dims) > 1):
        tensor.CopyFrom(numpy_helper.from_array(thinned(numpy_helper.to_array(tensor), levels), tensor.name))
    start = time.perf_counter()
    packed = pack(model)
    seconds = time.perf_counter() - start
    before = dense.ByteSize()
    loads = loading({"dense": model.SerializeToString(), "packed": packed.content})
    return {
        "bytes": len(packed.content),
        "share of bytes": round(len(packed.content) / before, 4),
        "exact": packed.exact,
        "largest difference": difference(model.SerializeToString(), packed.content, net.batch()),
        "seconds to pack": round(seconds, 1),
        "seconds to load, dense": round(loads["dense"] / 1e3, 2),
        "seconds to load, packed": round(loads["packed"] / 1e3, 2),
    }


def thinned(W: np.ndarray, levels: int | None) -> np.ndarray:
    """The largest tenth of the values, rounded to so many of them."""
    found = np.where(np.abs(W) > np.quantile(np.abs(W), 0.9), W, 0)
    if levels is None:
        return found
    half = levels // 2
    step = np.abs(found).max() / half
    return (np.sign(found) * np.clip(np.ceil(np.abs(found) / step), 0, half) * step).astype(W.dtype)


def compared(dense: ModelProto, masked: ModelProto, x: Feeds) -> dict[str, Any]:
    """What is delivered of the masked net, against the dense one."""
    start = time.perf_counter()
    found = smaller(masked, x, quantized=False, seconds=SECONDS)
    seconds = time.perf_counter() - start
    before, after = dense.SerializeToString(), found.model.SerializeToString()
    times = latency(before, after, x, seconds=SECONDS)
    return {
        "dense ms": round(times.dense_ms, 4),
        "pruned ms": round(times.pruned_ms, 4),
        "times faster": round(times.speedup, 2),
        "spread": round(times.spread, 3),
        "multiply-adds, times fewer": round(multiply_adds(dense) / multiply_adds(found.model), 2),
        "weights, times fewer": round(nonzeros(dense) / nonzeros(found.model), 2),
        "share of bytes": round(len(after) / len(before), 4),
        "largest difference": difference(masked.SerializeToString(), after, x),
        "seconds of delivery": round(seconds, 1),
        "forms": [f"{c.layer}: {c.form}" for c in found.choices],
    }


def multiply_adds(model: ModelProto) -> int:
    """For one example, as the analysis of an upload says."""
    return sum(layer.multiply_adds for layer in analyse(unshare(model))[1].layers.values())


def nonzeros(model: ModelProto) -> int:
    """Of the weights of layers."""
    tensors = (numpy_helper.to_array(t) for t in stored_tensors(model).values() if t.data_type in FLOATS)
    return sum(int(np.count_nonzero(t)) for t in tensors if t.ndim > 1)


def difference(one: bytes, other: bytes, x: Feeds) -> float:
    """Relative to the largest output."""
    before, after = (next(iter(run(session(content), x).values())) for content in (one, other))
    return float(f"{np.abs(before - after).max() / np.abs(before).max():.2g}")


def mnist(count: int) -> tuple[Feeds, np.ndarray]:
    """Test images as lenet5.onnx takes them, and their labels."""
    with np.load(DATA / "mnist.npz") as found:
        x, y = found["x_test"][:count], found["y_test"][:count]
    return {session(LENET5.read_bytes()).get_inputs()[0].name: x.astype(np.float32)}, y


def top1(content: bytes) -> float:
    """On the 10,000 test images."""
    x, y = mnist(10_000)
    return float((next(iter(run(session(content), x).values())).argmax(1) == y).mean())


ROWS: dict[str, Row] = {
    "VGG-16 at 32 px, half the filters gone": lambda: vgg(32, without_filters(0.5)),
    "VGG-16 at 224 px, three quarters gone": lambda: vgg(224, without_filters(0.75)),
    "columns, 90 % gone, VGG at 32 px": lambda: vgg(32, without_columns(0.9)),
    "columns, 90 % gone, VGG at 224 px": lambda: vgg(224, without_columns(0.9)),
    "columns, 50 % gone, VGG at 32 px": lambda: vgg(32, without_columns(0.5)),
    "columns, 50 % gone, VGG at 224 px": lambda: vgg(224, without_columns(0.5)),
    "ResNet-50, filters": resnet50_without_filters,
    "AlexNet's convolutions, filters and columns": alexnet,
    "LeNet-5 at 167x, compact": lenet5_compact,
    "LeNet-5, smallest file, packed": lambda: lenet5_packed("smallest file", biases="int8"),
    "LeNet-5 at 71.2x, packed, float32": lambda: lenet5_packed("direct 71.2x"),
    "ResNet-50, 90 % zero, packed, float32": lambda: resnet50_packed(None),
    "ResNet-50, 90 % zero, packed, 4 bits": lambda: resnet50_packed(16),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*")
    for row in parser.parse_args().rows or ROWS:
        rows = read_rows("delivery")
        rows[row] = ROWS[row]()
        save("delivery", {k: rows[k] for k in ROWS if k in rows})


if __name__ == "__main__":
    main()
