"""Packed and rewritten files in an ONNX Runtime of another version: it loads them to the same outputs.

SECATEUR_TEST_RUNTIMES names Python interpreters that have one, separated by colons.
"""

import os
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from pruning.measure import run, session
from pruning.onnx import product as products
from pruning.onnx.columns import layers, rewritten
from pruning.onnx.convert import stored_tensors
from pruning.onnx.forms import FORMS
from pruning.onnx.pack import pack
from pruning.onnx.upstream import move_gathers
from tests.conftest import EXAMPLES

RUNTIMES = [path for path in os.environ.get("SECATEUR_TEST_RUNTIMES", "").split(":") if path]
pytestmark = pytest.mark.skipif(not RUNTIMES, reason="SECATEUR_TEST_RUNTIMES names no interpreter with ONNX Runtime")
LIMIT = 1e-5  # of the largest output: runtimes add in another order
RUN = """
import sys
import numpy as np
import onnxruntime as ort
with np.load(sys.argv[1]) as feed:
    x = dict(feed)
for path in sys.argv[2:]:
    s = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.save(path + ".npy", s.run(None, x)[0])
print(ort.__version__)
"""


def digits(keep: float, levels: int = 0) -> ModelProto:
    """The example with the largest of its weights, and no others. Args: levels: magnitudes that are left of them."""
    model = onnx.load(EXAMPLES / "digits.onnx")
    for tensor in (t for t in stored_tensors(model).values() if len(t.dims) > 1):
        W = numpy_helper.to_array(tensor)
        W = np.where(np.abs(W) > np.quantile(np.abs(W), 1 - keep), W, 0)
        if levels:
            step = np.abs(W).max() / levels
            W = np.sign(W) * np.ceil(np.abs(W) / step) * step
        tensor.CopyFrom(numpy_helper.from_array(W.astype(np.float32), tensor.name))
    return model


def without_columns(share: float) -> ModelProto:
    """The example with columns of its convolutions, and inputs of its dense layers, zero."""
    model, rng = onnx.load(EXAMPLES / "digits.onnx"), np.random.default_rng(0)
    for tensor in (t for t in stored_tensors(model).values() if len(t.dims) > 1):
        W = numpy_helper.to_array(tensor).copy()
        W[:, rng.random(W.shape[1:]) < share] = 0
        tensor.CopyFrom(numpy_helper.from_array(W, tensor.name))
    return model


def in_form(name: str) -> ModelProto:
    """With every layer that can take it in one form, its Gathers moved."""
    model = without_columns(0.8)
    made = {layer.weight: FORMS[name](layer) for layer in layers(model)}
    changes = {weight: change for weight, change in made.items() if change is not None}
    assert changes, name
    return move_gathers(rewritten(model, changes))


def made() -> dict[str, bytes]:
    """Files that we deliver, by name."""
    kinds = product((0.05, 0.4), (0, 1, 4))
    files = {f"kept {keep}, {levels} levels": pack(digits(keep, levels)) for keep, levels in kinds}
    files |= {"int8 biases": pack(digits(0.05, 2), "int8"), "shared": pack(digits(0.05, 2), levels="shared")}
    found = {name: packed.content for name, packed in files.items()}
    found |= {f"{name}, plain": in_form(name).SerializeToString() for name in FORMS}
    return found | {f"{name}, packed": pack(in_form(name)).content for name in FORMS}


@pytest.mark.parametrize("python", RUNTIMES)
def test_what_is_delivered_runs_in_another_version(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(products, "LEAST_BYTES", 0)  # the example is small, and its images are large
    monkeypatch.setattr(products, "MOST_PIXELS", 1000)
    x = {"image": np.load(EXAMPLES / "digits.npz")["x_test"][:16].astype(np.float32)}
    np.savez(tmp_path / "x.npz", **x)
    files = made()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [python, "-c", RUN, str(tmp_path / "x.npz"), *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name, content in files.items():
        expected = next(iter(run(session(content, 1), x).values()))
        found = np.load(tmp_path / f"{name}.npy")
        assert np.abs(found - expected).max() <= LIMIT * np.abs(expected).max(), f"{name} in {done.stdout}"
