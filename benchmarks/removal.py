"""Files with half of the filters of every layer zero: how many leave the graph, and whether the outputs stay.

Usage: python -m benchmarks.removal [--folder DIR]
Filters that are added to others are zero with them. Once their biases are zero too, once these stay: such a filter is
a constant. What leaves the graph as an output is left alone. The folder: exported by benchmarks.exported_models.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from benchmarks.results import DATA, save
from pruning.errors import RejectedModel
from pruning.measure import Feeds, session
from pruning.onnx.analyse import analyse
from pruning.onnx.channels import trace
from pruning.onnx.constants import move_constants
from pruning.onnx.convert import inputs_of, stored_tensors
from pruning.onnx.labels import OUTPUT, Tracer
from pruning.onnx.shrink import shrink
from pruning.onnx.steps import Ids, Product
from pruning.onnx.tensors import replace_values
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet

BESIDE = ("lenet5", "resnet20", "resnet32")
LIMIT, HALF_LIMIT = 1e-5, 1e-2  # half precision rounds to 11 bits
EXAMPLES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="with exported files, which are looked at too")
    folder = parser.parse_args().folder
    paths = [DATA / f"{name}.onnx" for name in BESIDE] + sorted((DATA / "models").glob("*.onnx"))
    paths += sorted(folder.glob("*.onnx")) if folder else []
    print(f"{'':<44} {'layers':>6} {'zero':>6} {'gone':>6} {'gone, biased':>12} {'bytes':>6} {'relative':>9} {'s':>6}")
    rows = [_shown(path) for path in paths if path.exists()]
    taken = [row for row in rows if "refused" not in row]
    found = {
        "files": len(rows),
        "refused in words": len(rows) - len(taken),
        "wrong": sum(row["wrong"] for row in taken),
        "filters that are zero": sum(row["zero"] for row in taken),
        "of these gone": sum(row["gone"] for row in taken),
        "of these gone where biases stay": sum(row["gone_biased"] for row in taken),
    }
    if folder:  # a folder of one's own is for looking at, not for the record
        print(found)
    else:
        save("removal", found | {"models": rows})


def _shown(path: Path) -> dict[str, Any]:
    """Prints a line, and returns it."""
    try:
        model = unshare(vet(path.read_bytes()))
        row = {"name": path.stem} | removed(model, len(analyse(model)[0].layers))
    except RejectedModel as error:
        print(f"{path.stem:<44} {error}")
        return {"name": path.stem, "refused": str(error)}
    print(
        f"{path.stem:<44} {row['layers']:>6} {row['zero']:>6} {row['gone']:>6} {row['gone_biased']:>12} "
        f"{row['bytes']:>6} {row['relative']:>9.1e} {row['seconds']:>6} {'WRONG' if row['wrong'] else row['stays']}"
    )
    return row


def removed(model: ModelProto, layers: int) -> dict[str, Any]:
    """What becomes of a model with half of its filters zero.

    Returns: bytes: share that is left; relative: largest difference over the largest output, of both ways; in double
    precision where ONNX Runtime's own rounding is larger than the limit.
    """
    tracer = trace(model)
    gone = chosen(tracer)
    found: dict[str, Any] = {"layers": layers, "zero": sum(int(gone[p.outputs].sum()) for p in _products(tracer))}
    feeds, worst, seconds = _feeds(model), 0.0, 0.0
    for key, cleared in (("gone", True), ("gone_biased", False)):
        masked = zeroed(model, tracer, gone, cleared)
        start = time.perf_counter()
        smaller = shrink(move_constants(masked))
        seconds += time.perf_counter() - start
        found[key] = _filters(masked, tracer) - _filters(smaller, tracer)
        found.setdefault("bytes", round(smaller.ByteSize() / model.ByteSize(), 2))
        worst = max(worst, *(_relative(masked, smaller, feed) for feed in feeds))
    limit = HALF_LIMIT if _is_half(model) else LIMIT
    rounded = {"relative": float(f"{worst:.2g}"), "seconds": round(seconds, 2)}
    return found | rounded | {"wrong": int(worst > limit), "stays": _why(tracer, layers, gone, found)}


def chosen(tracer: Tracer) -> np.ndarray:
    """(labels,) True for the half of every layer's filters with the smallest weights, and what goes with them."""
    labels, classes = tracer.found, tracer.found.classes()
    kept = {int(c) for by, found in tracer.stopped if by == OUTPUT for c in classes[found]}
    norms: defaultdict[int, float] = defaultdict(float)
    for p in _products(tracer):
        W = np.square(numpy_helper.to_array(tracer.stored[p.weight]).astype(np.float64))
        rows = W.reshape(p.groups, W.shape[0] // p.groups, W.shape[1], -1).sum(-1)
        sizes = rows.sum(1 if p.by_input else 2).reshape(-1)
        for c, size in zip(classes[p.outputs].tolist(), sizes.tolist(), strict=True):
            norms[c] += size
    gone: set[int] = set()
    for p in _products(tracer):
        own = dict.fromkeys(classes[p.outputs].tolist())
        if not kept & own.keys():
            smallest = sorted(own.keys() - gone, key=lambda c: (norms[c], c))
            gone.update(smallest[: max(len(own) // 2 - len(own.keys() & gone), 0)])
    return np.isin(classes, list(gone)) if gone else np.zeros(labels.count, dtype=bool)


def zeroed(model: ModelProto, tracer: Tracer, gone: np.ndarray, cleared: bool) -> ModelProto:
    """A copy with these filters zero. Args: cleared: with all vectors along them."""
    result = ModelProto()
    result.CopyFrom(model)
    stored = stored_tensors(result)
    for p in _products(tracer):
        W = numpy_helper.to_array(stored[p.weight])
        shape = p.matrix(W).shape
        mask = p.spread(np.broadcast_to(gone[p.outputs].reshape(shape[0], -1, 1), shape), W)
        if mask.any():
            replace_values(stored[p.weight], np.where(mask, W.dtype.type(0), W))
    vectors = {name: axes for name, axes in tracer.found.axes.items() if len(axes) == 1} if cleared else {}
    for name in vectors.keys() - {p.weight for p in _products(tracer)}:
        ((axis, along),) = vectors[name].items()
        values = numpy_helper.to_array(stored[name]).copy()
        np.moveaxis(values, axis, 0)[gone[along]] = 0
        replace_values(stored[name], values)
    return result


def _products(tracer: Tracer) -> list[Product]:
    return [step for step in tracer.found.steps if isinstance(step, Product)]


def _filters(model: ModelProto, tracer: Tracer) -> int:
    stored = stored_tensors(model)
    return sum(_outputs(p, tuple(stored[p.weight].dims)) for p in _products(tracer))


def _outputs(p: Product, dims: tuple[int, ...]) -> int:
    return dims[1] * p.groups if p.by_input else dims[0]


def _why(tracer: Tracer, layers: int, gone: np.ndarray, found: Mapping[str, Any]) -> str:
    """What keeps filters that are zero, in words."""
    classes = tracer.found.classes()
    read: Iterable[Ids] = (p.outputs[gone[p.outputs]] for p in _products(tracer))
    zero = np.unique(classes[np.concatenate([*read, np.empty(0, dtype=np.int64)])])
    by = sorted({by for by, labels in tracer.stopped if np.isin(zero, classes[labels]).any()})
    words = [f"{', '.join(by)} reads them" if by else "by something else"] if found["gone"] < found["zero"] else []
    unknown = layers - len(_products(tracer))
    return "; ".join([*words, *([f"{unknown} layers without a rule"] if unknown > 0 else [])])


def _feeds(model: ModelProto) -> list[Feeds]:
    """Noise, and rows that rise evenly."""
    rng, noise, even = np.random.default_rng(0), {}, {}
    for port in inputs_of(model.graph):
        kind = port.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = [d.dim_value or EXAMPLES for d in kind.shape.dim]
        whole = dtype.kind != "f"
        noise[port.name] = (rng.integers(0, 5, shape) if whole else rng.standard_normal(shape)).astype(dtype)
        rising = np.linspace(0, 4 if whole else 1, int(np.prod(shape))).reshape(shape)
        even[port.name] = rising.astype(dtype)
    return [noise, even]


def _relative(one: ModelProto, other: ModelProto, feeds: Feeds) -> float:
    found = _difference(*(session(m.SerializeToString(), 1).run(None, dict(feeds)) for m in (one, other)))
    if found <= LIMIT or _is_half(one):
        return found
    feeds = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in feeds.items()}
    return _difference(*(ReferenceEvaluator(_in_double(m)).run(None, feeds) for m in (one, other)))


def _difference(ys: Any, zs: Any) -> float:
    pairs = [(np.asarray(y, np.float64), np.asarray(z, np.float64)) for y, z in zip(ys, zs, strict=True)]
    if not all(np.array_equal(np.isfinite(y), np.isfinite(z)) for y, z in pairs):
        return math.inf
    finite = [(y[np.isfinite(y)], z[np.isfinite(z)]) for y, z in pairs]
    return max(float(np.abs(y - z).max(initial=0) / np.abs(y).max(initial=1e-6)) for y, z in finite)


def _is_half(model: ModelProto) -> bool:
    return any(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)


def _in_double(model: ModelProto) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    for tensor in stored_tensors(result).values():
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for port in (*result.graph.input, *result.graph.output, *result.graph.value_info):
        if port.type.tensor_type.elem_type == TensorProto.FLOAT:
            port.type.tensor_type.elem_type = TensorProto.DOUBLE
    return result


if __name__ == "__main__":
    main()
