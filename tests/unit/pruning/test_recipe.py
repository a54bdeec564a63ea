"""What does a job again: the command, and the files it reads."""

import json
import shlex

import pytest

from pruning.errors import InvalidPlan
from pruning.recipe import Recipe, bare, command
from tests.unit.pruning.test_report import OLD


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet5.onnx", "lenet5.onnx"),
        ("../../etc/passwd", "passwd"),
        ("C:\\nets\\my net.onnx", "my net.onnx"),
        ("a\nb\x00.onnx", "ab.onnx"),
        ("", "model.onnx"),
        ("..", "model.onnx"),
        ("folder/", "folder"),
        ("x" * 300 + ".onnx", "x" * 195 + ".onnx"),
    ],
)
def test_a_name_is_that_of_a_file_alone(name, expected):
    assert bare(name, "model.onnx") == expected


@pytest.mark.parametrize("name", ["net.onnx", "my net's $(reboot); `x`.onnx", "-rf.onnx", "--plan"])
def test_a_shell_reads_the_command_as_it_was_meant(name):
    words = shlex.split(command(name, "data.npz"))
    assert words[:3] == ["python", "-m", "pruning"] and words[3].removeprefix("./") == name
    assert words[4:] == ["data.npz", "--plan", "manifest.json", "--out", "out"]
    assert not words[3].startswith("-")


def test_a_teacher_is_named():
    assert shlex.split(command("a", "b", "t.onnx"))[7:9] == ["--teacher", "t.onnx"]


def test_a_plan_a_manifest_and_a_report_are_read(tmp_path):
    manifest = OLD["manifest"] | {"preprocess": {"scale": 0.5}, "data_format": "idx"}
    for content in (manifest, OLD | {"manifest": manifest}):
        (tmp_path / "file.json").write_text(json.dumps(content))
        recipe = Recipe.read(tmp_path / "file.json")
        assert recipe.plan == manifest["plan"] and recipe.data_format == "idx" and recipe.preprocess == {"scale": 0.5}
        assert recipe.sha256 == {"model": "0" * 64, "dataset": "0" * 64}
    (tmp_path / "plan.json").write_text(json.dumps(manifest["plan"]))
    assert Recipe.read(tmp_path / "plan.json") == Recipe(manifest["plan"])


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_what_holds_no_plan_is_refused(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InvalidPlan):
        Recipe.read(tmp_path / "plan.json")
