"""The command that users type, against the real service."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from tests.conftest import EXAMPLES, HOUSE, Service, save_npz, tiny_model

SHORT = {"admm": {"rounds": 1}, "retrain": {"epochs": 1}, "deliver": {"seconds": 0.2}}
LONG = {"budget": {"pruning_rate": 2}, "admm": {"rounds": 500}}


def command(service: Service, *arguments: object, url: str | None = None) -> subprocess.Popen[str]:
    environment = os.environ | {"SECATEUR_URL": url or service.url, "PYTHONPATH": str(HOUSE / "client")}
    line = [sys.executable, "-m", "secateur", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        line,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )


def run(service: Service, *arguments: object, url: str | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and error."""
    process = command(service, *arguments, url=url)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    onnx.save(tiny_model(), folder / "tiny.onnx")
    return folder / "tiny.onnx", save_npz(folder / "tiny.npz")


def plan(folder: Path, **parts: object) -> Path:
    (folder / "plan.json").write_text(json.dumps(parts))
    return folder / "plan.json"


def test_digits_become_smaller_files(service: Service, tmp_path: Path) -> None:
    digits = EXAMPLES / "digits.onnx", EXAMPLES / "digits.npz"
    out = tmp_path / "out"
    code, said, err = run(service, "prune", *digits, "--rate", 20, "--plan", plan(tmp_path, **SHORT), "-o", out)
    assert code == 0, err
    assert "76,320 weights became 3,816" in said and "milliseconds" in said and f"{out}: " in said
    assert onnx.load(out / "pruned.onnx").graph.node and (out / "packed.onnx").stat().st_size < 50_000
    steps = re.findall(r"^job_\w+: (\w+), \d+%", err, re.MULTILINE)  # phases of less than a look are not among them
    assert len(steps) > 1 and steps[-1] == "succeeded" and "\x1b" not in said + err


def test_json_is_one_document_and_a_report_is_the_next_plan(service: Service, files, tmp_path: Path) -> None:
    given = plan(tmp_path, budget={"pruning_rate": 2}, **SHORT)
    code, out, err = run(service, "prune", *files, "--plan", given, "-o", tmp_path / "a", "--json")
    assert code == 0, err
    first = json.loads(out)
    assert first["job"]["status"] == "succeeded" and tmp_path / "a/report.json" in map(Path, first["files"])
    ids = first["job"]["model_id"], first["job"]["dataset_id"]
    code, out, err = run(service, "prune", *ids, "--plan", tmp_path / "a/report.json", "--no-wait")
    assert code == 0, err
    code, out, err = run(service, "jobs", "watch", out.strip(), "--json")
    last = json.loads(out.splitlines()[-1])
    assert code == 0 and last["status"] == "succeeded" and last["plan"] == first["job"]["plan"]
    code, out, _ = run(service, "jobs", "report", last["id"], "--html", tmp_path / "r.html")
    assert code == 0 and (tmp_path / "r.html").read_text().startswith("<!")


def test_a_goal_that_is_not_met_is_exit_3(service: Service, files, tmp_path: Path) -> None:
    given = plan(tmp_path, budget={"bytes": 500}, **SHORT)  # the last path through the net takes more
    code, _, err = run(service, "prune", *files, "--plan", given, "-o", tmp_path / "out")
    assert code == 3, err
    assert (tmp_path / "out/pruned.onnx").exists()


def test_ctrl_c_leaves_the_job_and_cancel_ends_it(service: Service, files, tmp_path: Path) -> None:
    process = command(service, "prune", *files, "--plan", plan(tmp_path, **LONG))
    assert process.stderr is not None
    line = ""
    for line in process.stderr:
        if "job_" in line and " is at " not in line:
            break
    job = line.split(":")[0]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and f"secateur jobs watch {job}" in err
    watching = command(service, "jobs", "watch", job)
    time.sleep(1)
    assert run(service, "jobs", "cancel", job)[0] == 0
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 1 and f"error: job {job} cancelled" in err
    assert run(service, "jobs", "cancel", job)[0] == 1


def test_what_the_service_refuses_is_a_sentence(service: Service, files) -> None:
    code, out, err = run(service, "prune", __file__, files[1], "--rate", 2)
    assert (code, out) == (1, "") and "test_client.py was rejected: not an ONNX file" in err
    code, _, err = run(service, "prune", *files, "--rate", 1e6)
    assert code == 1 and "ask for a pruning rate of at most" in err and "  at /plan/budget" in err


def test_a_service_that_is_away_is_exit_4(service: Service) -> None:
    code, out, err = run(service, "jobs", "ls", "--json", url="http://127.0.0.1:9")
    assert code == 4 and "does not answer" in err and "does not answer" in json.loads(out)["error"]["message"]


def test_lists_and_details(service: Service, files) -> None:
    _, out, _ = run(service, "models", "upload", files[0])
    code, shown, _ = run(service, "models", "show", out.strip())
    assert code == 0 and "conv1" in shown and "multiply-adds" in shown
    assert out.strip() in run(service, "models", "ls", "--all")[1]
    _, out, _ = run(service, "datasets", "upload", files[1])
    assert "train" in run(service, "datasets", "show", out.strip())[1]
    assert json.loads(run(service, "plan", "schema")[1])["properties"]["budget"]


def test_a_plan_is_checked_before_it_runs(service: Service, files, tmp_path: Path) -> None:
    code, out, err = run(service, "plan", "check", plan(tmp_path, budget={"pruning_rate": 2}), "--model", files[0])
    assert code == 0 and "conv1" in out and "at most" in out, err
    code, _, err = run(service, "plan", "check", plan(tmp_path, budget={"pruning_rate": 2}, speed=3))
    assert code == 1 and "/plan/speed" in err
