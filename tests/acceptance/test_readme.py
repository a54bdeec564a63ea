"""Every command of the README, run as it stands there."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from pruning.budgets import settle
from pruning.data import READERS
from pruning.onnx.analyse import analyse
from pruning.onnx.vet import vet
from pruning.plan import Plan
from tests.conftest import DATA, HOUSE, Service

FEW = 3_000
README = (HOUSE / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def block(language: str, containing: str) -> str:
    (found,) = [text for kind, text in BLOCKS if kind == language and containing in text]
    return found


def run(command: list[str], folder: Path, seconds: int = 280, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SECATEUR_", "MAKE"))}
    path = f"{Path(sys.executable).parent}:{clean['PATH']}"
    here = {"PATH": path, "OMP_NUM_THREADS": "1"}  # as in tests.conftest.Service
    result = subprocess.run(
        command, cwd=folder, env=clean | here | environment, capture_output=True, text=True, timeout=seconds
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_block_is_run_here():
    tested = [
        "make demo",
        "make up",
        "lenet5.onnx",
        "from secateur",
        "secateur prune",
        "-m pruning ",
        "pruning.onnx.pack",
        "docker compose",
    ]
    for _, text in BLOCKS:
        assert len([t for t in tested if t in text]) == 1, text


def test_make_demo(tmp_path: Path):
    """EXIT=1 ends it after the job."""
    command = block("bash", "make demo").split()
    for old in ("pruned.onnx", "report.json"):
        (HOUSE / "out" / old).unlink(missing_ok=True)
    said = run([*command, "EXIT=1"], HOUSE, SECATEUR_DATA_DIR=str(tmp_path / "data"))
    assert re.search(r"Secateur is at http://127\.0\.0\.1:\d+", said)
    report = json.loads((HOUSE / "out/report.json").read_text())
    assert report["compression"]["pruning_rate"] >= 20 and report["accuracy"]["pruned"] > 0.95
    assert f"{report['accuracy']['pruned']:.2%}" in said and "weights kept" in said and "milliseconds" in said
    onnx.checker.check_model(onnx.load(HOUSE / "out/pruned.onnx"))


def test_make_up(tmp_path: Path):
    """Until it says where it is; Ctrl-C ends it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SECATEUR_", "MAKE"))}
    process = subprocess.Popen(
        block("bash", "make up").split(),
        cwd=HOUSE,
        env=environment | {"SECATEUR_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert any("Secateur is at http://127.0.0.1:" in line for line in process.stdout)  # it may install first
    os.killpg(process.pid, 2)
    process.wait(30)
    assert "stopped" in process.stdout.read()
    process.stdout.close()


@pytest.mark.timeout(900)  # on one thread, and beside other tests
@pytest.mark.skipif(not (DATA / "lenet5.onnx").exists(), reason="SECATEUR_DATA holds no LeNet-5")
def test_the_first_job_with_curl(service: Service, tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "lenet5.onnx").symlink_to(DATA / "lenet5.onnx")
    with np.load(DATA / "mnist.npz") as whole:  # a part of the training data: CI has 15 minutes
        np.savez(folder / "mnist.npz", **{k: v[: FEW if "train" in k else None] for k, v in whole.items()})
    run(["bash", "-eu", "-c", block("bash", "lenet5.onnx")], tmp_path, 850, U=service.url, D=str(folder))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["compression"]["weights_total"] == 430_500 and report["compression"]["weights_kept"] == 21_525
    assert report["accuracy"]["dense"] > 0.98 and report["accuracy"]["pruned"] >= 0.96
    onnx.checker.check_model(onnx.load(tmp_path / "pruned.onnx"))


def test_the_first_job_with_the_client(service: Service, tmp_path: Path):
    text = block("python", "from secateur").replace("http://127.0.0.1:8000", service.url)
    text = text.replace('"examples/', f'"{HOUSE}/examples/')
    said = run([sys.executable, "-c", textwrap.dedent(text)], tmp_path)
    assert "76,320 weights became 3,816" in said and (tmp_path / "out" / "pruned.onnx").exists()


def test_the_first_job_on_the_command_line(service: Service, tmp_path: Path):
    command = block("bash", "secateur prune").split()
    assert command[0] == ".venv/bin/secateur" and command[-2:] == ["-o", "out"]
    said = run([sys.executable, "-m", "secateur", *command[1:-1], str(tmp_path)], HOUSE, SECATEUR_URL=service.url)
    assert "76,320 weights became 3,816" in said and (tmp_path / "pruned.onnx").exists()


def test_without_any_service(tmp_path: Path):
    command = block("bash", "-m pruning ").split()
    assert command[0] == ".venv/bin/python" and command[-2:] == ["--out", "out"]
    said = run([sys.executable, *command[1:-1], str(tmp_path)], HOUSE)
    assert "76,320 weights became 3,816" in said
    named = set(re.findall(r"^\| `([\w.]+)`", section("What comes back"), re.MULTILINE))
    assert {p.name for p in tmp_path.iterdir()} == named


def test_packing_alone(tmp_path: Path):
    command = block("bash", "pruning.onnx.pack").split()
    assert command[0] == ".venv/bin/python" and command[3:] == ["out/pruned.onnx", "-o", "out/small.onnx"]
    small = tmp_path / "small.onnx"
    file = HOUSE / "examples" / "digits.onnx"
    said = run([sys.executable, *command[1:3], str(file), "-o", str(small)], HOUSE)
    assert "every number to the bit" in said and small.stat().st_size < file.stat().st_size
    onnx.checker.check_model(onnx.load(small))


def test_the_export_makes_a_file_that_is_taken(tmp_path: Path):
    call = re.search(r"`(torch\.onnx\.export\([^`]*)`", README)
    assert call is not None
    code = f"""
        import torch
        from pruning.onnx.analyse import analyse
        from pruning.onnx.vet import vet
        net, x = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)), torch.randn(1, 6)
        {call[1].replace('"net.onnx"', f'"{tmp_path}/net.onnx"')}
        analysis, _ = analyse(vet(open("{tmp_path}/net.onnx", "rb").read()))
        print(analysis.weights)
    """
    assert run([sys.executable, "-c", textwrap.dedent(code)], HOUSE).split()[-1] == "72"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_every_format_is_named():
    assert set(re.findall(r"^\| `([\w.]+)`", section("A first job"), re.MULTILINE)) == set(READERS)


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_deployment_names_what_is_there():
    """Docker is not on every machine that runs the tests: the commands are held against the compose file."""
    text = block("bash", "docker compose")
    compose = (HOUSE / "docker-compose.yml").read_text()
    variable = re.search(r"export (\w+)=", text)
    assert variable is not None and f"${{{variable[1]}:?" in compose
    assert "exec api secateur-admin keys create" in text and "api" in yaml.safe_load(compose)["services"]


def test_the_files_that_it_links_to_are_there():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (HOUSE / target).exists(), target


def test_the_operators_are_counted():
    from pruning.onnx.ops import COMPOSITES, CONVERTERS

    assert f"[the {len(CONVERTERS) + len(COMPOSITES)} operators](docs/operators.md)" in README


def test_every_plan_in_the_table_is_a_plan() -> None:
    """Each is held against a model as it stands there, or beside a budget."""
    table = README.split("| you want | say |")[1].split("\n\n")[0]
    parts = [code for code in re.findall(r"`([^`]*)`", table) if '":' in code]
    assert len(parts) >= 9
    layers = analyse(vet((HOUSE / "examples/digits.onnx").read_bytes()))[0].layers
    for part in parts:
        plan = json.loads(part if part.startswith("{") else f"{{{part}}}")
        settle(Plan.model_validate({"budget": {"pruning_rate": 1.9}} | plan), layers)
