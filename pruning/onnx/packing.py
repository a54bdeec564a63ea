"""python -m pruning.onnx.pack FILE [-o FILE] [--biases int8] [--levels shared]: pack, and hold against what it was."""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pruning.dtypes import NUMPY
from pruning.errors import NotPacked, PruningError
from pruning.measure import session
from pruning.onnx.agree import difference
from pruning.onnx.pack import Packed, pack
from pruning.onnx.unpack import unpack
from pruning.onnx.vet import vet

LIMIT, ROUNDED_LIMIT = 1e-5, 0.1  # of the largest output; runtimes may add in another order
SIZES = (1, 8, 32, 224)  # tried for dimensions that are known only at run time, but for the first
NO_GAIN = "nothing is gained: the packed file would not be smaller; prune the model first"
ALREADY = "the file is packed already, and packing it again gains nothing"
NAMED = 60  # characters of a name in the table


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 packed, 1 it could not be packed or nothing is gained."""
    options = _parser().parse_args(arguments)
    try:
        content = options.file.read_bytes()
        if options.out.is_dir() or options.out.resolve() == options.file.resolve():
            raise NotPacked(f"{options.out} is a folder, or the input itself: name another file with -o")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        model = vet(content)
        packed = pack(model, options.biases, options.levels)
        if len(packed.content) >= len(content):
            raise NotPacked(ALREADY if unpack(model) is not model else NO_GAIN)
        print(table(packed, len(content)))
        print(compared(content, packed))
        options.out.write_bytes(packed.content)
    except (PruningError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {options.out}")
    return 0


def table(packed: Packed, before: int) -> str:
    """A line for each tensor that is packed, and one for the file."""
    rows = [("tensor", "codec", "non-zeros", "before", "after")]
    for t in packed.tensors:
        if t.codec != "plain":
            rows.append((t.name[:NAMED], t.codec, f"{t.nonzeros:,} of {t.elements:,}", f"{t.before:,}", f"{t.after:,}"))
    rows.append(("whole file", "", "", f"{before:,}", f"{len(packed.content):,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(f"{c:{'<>'[i > 1]}{widths[i]}}" for i, c in enumerate(row)) for row in rows]
    change = (
        "every number to the bit" if packed.exact else f"stored numbers change by {packed.largest_change:.3g} at most"
    )
    return "\n".join([*lines, f"{before / len(packed.content):.1f} times smaller; {change}"])


def compared(content: bytes, packed: Packed) -> str:
    """Both files in ONNX Runtime on random input, in words. Raises: NotPacked: their outputs differ by too much."""
    start = time.perf_counter()
    dense = session(content, threads=1)
    between = time.perf_counter()
    small = session(packed.content, threads=1)
    end = time.perf_counter()
    worst = _difference(dense, small)
    if worst is not None and not worst <= (LIMIT if packed.exact else ROUNDED_LIMIT):
        raise NotPacked(f"the packed file's outputs differ by {worst:.3g} of the largest one; nothing was written")
    times = f"{1000 * (between - start):.1f} ms before, {1000 * (end - between):.1f} ms after"
    found = "the file does not run on random input" if worst is None else f"worst difference of outputs: {worst:.3g}"
    return f"{found}; session creation: {times}"


def _difference(dense: ort.InferenceSession, small: ort.InferenceSession) -> float | None:
    """Of all outputs, relative to the largest number of each; None where the file runs at no size that is tried."""
    for size in SIZES:
        feeds = _feeds(small, size)
        try:
            expected = dense.run(None, feeds)
        except Exception:  # noqa: BLE001  # ONNX Runtime raises a dozen classes of its own, with no common base
            continue
        return max(
            difference(np.asarray(a), np.asarray(b))[1] for a, b in zip(small.run(None, feeds), expected, strict=True)
        )
    return None


def _feeds(s: ort.InferenceSession, size: int) -> dict[str, np.ndarray]:
    rng, feeds = np.random.default_rng(0), {}
    for port in s.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else (size if i else 1) for i, d in enumerate(port.shape)]
        dtype = NUMPY.get(port.type.removeprefix("tensor(").removesuffix(")"), np.float32)
        values = rng.random(shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)
        feeds[port.name] = np.asarray(values, dtype=dtype)
    return feeds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pruning.onnx.pack", description="Pack a pruned ONNX file.")
    parser.add_argument("file", type=Path, help="ONNX file with zeros or few levels among its weights")
    parser.add_argument("-o", "--out", type=Path, default=Path("packed.onnx"), help="default: packed.onnx")
    parser.add_argument("--biases", choices=("float32", "int8"), default="float32", help="int8 rounds them")
    parser.add_argument(
        "--levels", choices=("own", "shared"), default="own", help="shared moves factors between layers"
    )
    return parser
