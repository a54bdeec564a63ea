"""Files as users have them: fresh from both PyTorch exporters, and old ones from the wild. More are in benchmarks/."""

import json
import subprocess
import sys

import pytest

from benchmarks.nets import NETS
from benchmarks.verdicts import EXAMPLES, judge
from tests.conftest import DATA, HOUSE

REFUSED = {"silero_vad.onnx": "input 'sr' is one number for all examples"}


@pytest.mark.parametrize("name", ["two_inputs", "transformer_masked"])
def test_nets_of_both_pytorch_exporters(name, tmp_path):
    """Static and dynamic batch; taken, trained a step, written back with the same nodes, reopened."""
    command = [sys.executable, "-m", "benchmarks.nets.export", name, str(tmp_path)]
    subprocess.run(command, cwd=HOUSE, capture_output=True, check=True)
    forms = json.loads((tmp_path / f"{name}.json").read_text())
    feeds = {k: v.numpy() for k, v in NETS[name].batch(EXAMPLES).items()}
    assert len(forms) >= 4
    for form, seconds in forms.items():
        assert not isinstance(seconds, str), f"{form} was not exported: {seconds}"
        verdict = judge((tmp_path / f"{name}-{form}.onnx").read_bytes(), feeds)
        assert verdict.verdict == "ready", f"{form}: {verdict}"


@pytest.mark.parametrize("path", sorted((DATA / "models").glob("*.onnx")), ids=lambda p: p.stem)
def test_models_of_the_wild(path):
    verdict = judge(path.read_bytes())
    if path.name in REFUSED:
        assert verdict.verdict == "refused" and verdict.why.startswith(REFUSED[path.name])
    else:
        assert verdict.verdict == "ready", verdict


@pytest.mark.parametrize("path", sorted((DATA / "models_unsupported").glob("*.onnx")), ids=lambda p: p.stem)
def test_models_that_nothing_runs(path):
    verdict = judge(path.read_bytes())
    assert verdict.verdict == "refused" and "domain" in verdict.why
