"""The command line does a job again from what it wrote."""

import json
import shlex

import numpy as np
import pytest

from pruning.__main__ import main
from pruning.report import Report
from tests.conftest import save_npz
from tests.unit.pruning.test_pipeline import SMALL

FILES = ("masks.safetensors", "pruned.onnx")


@pytest.fixture
def folder(tiny, tiny_data, tmp_path, monkeypatch):
    """With a model, its data and a plan; it is the present one."""
    (tmp_path / "my net.onnx").write_bytes(tiny)
    (tmp_path / "tiny.npz").write_bytes(tiny_data.read_bytes())
    (tmp_path / "plan.json").write_text(json.dumps(SMALL | {"deliver": {"seconds": 0.2, "rewrite": False}}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return main(["my net.onnx", "tiny.npz", *arguments])


def report(folder, name: str) -> Report:
    return Report.model_validate_json((folder / name / "report.json").read_text())


@pytest.mark.parametrize("kind", ["manifest", "report"])
def test_the_command_of_the_manifest_does_it_again(folder, capsys, kind):
    """Also the reading of the data, which no option of the command says."""
    assert run("--plan", "plan.json", "--scale", "0.5", "--mean", "0.1", "--out", "first") == 0
    first = report(folder, "first")
    words = shlex.split(first.manifest.command)
    assert words[3:5] == ["my net.onnx", "tiny.npz"] and first.manifest.model_name == "my net.onnx"
    (folder / "manifest.json").write_bytes((folder / "first" / f"{kind}.json").read_bytes())
    assert main(words[3:]) == 0
    for name in FILES:
        assert (folder / "out" / name).read_bytes() == (folder / "first" / name).read_bytes(), name
    again = report(folder, "out")
    assert again.manifest.preprocess == first.manifest.preprocess and again.manifest.preprocess.scale == 0.5
    assert again.manifest.plan == first.manifest.plan and again.history == first.history
    assert "is not the" not in capsys.readouterr().err


def test_options_replace_what_the_manifest_says(folder, capsys):
    assert run("--plan", "plan.json", "--scale", "0.5", "--out", "first") == 0
    data = {k: v + 1 if k == "x_train" else v for k, v in np.load(folder / "tiny.npz").items()}
    save_npz(folder / "tiny.npz", **data)
    assert run("--plan", "first/manifest.json", "--rate", "2", "--scale", "0.25", "--out", "second") == 0
    second = report(folder, "second")
    assert second.manifest.preprocess.scale == 0.25 and second.compression.pruning_rate < 3
    assert "warning: tiny.npz is not the dataset that the manifest is of" in capsys.readouterr().err
