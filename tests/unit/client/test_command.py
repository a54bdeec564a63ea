"""The command line: usage errors, JSON, exit codes; the service is scripted."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from secateur import cli, formats
from secateur.cli import options

from tests.unit.client.service import JOB, METRICS, REPORT, Clock, Scripted, problem

DONE = JOB | {"status": "succeeded", "progress": 1.0, "goal_met": True}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, slept: Clock) -> Scripted:
    scripted = Scripted()
    for path, answer in {"": DONE, "/metrics": METRICS, "/report": REPORT}.items():
        scripted.on("GET", f"/v1/jobs/job_1{path}", answer)
    monkeypatch.setattr(options, "Secateur", lambda *_, **__: scripted.client())
    return scripted


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["prune", "{model}"], "Missing argument 'data'"),
        (["prune", "{model}", "{model}"], "how much may stay? Give one of --rate"),
        (["prune", "{model}", "{model}", "--rate", "2", "--sparsity", "0.5"], "give only one of --rate, --sparsity"),
        (["prune", "{model}", "{model}", "--rate", "0.5"], "greater than or equal to 1"),
        (["prune", "nowhere.onnx", "{model}", "--rate", "2"], "nowhere.onnx is neither a file nor an id"),
        (["prune", "mdl_1", "dat_1", "--rate", "2", "--scale", "3"], "--scale can be set only while uploading"),
        (["prune", "mdl_1", "{model}", "--rate", "2"], "Say --format"),
        (["plan", "check", "nowhere.json"], "nowhere.json: No such file"),
        (["plan", "check", "{model}"], "is not JSON"),
        (["models", "rm", "mdl_1"], "say -y to delete"),
        (["jobs", "shwo"], "No such command"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(
    script: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    (tmp_path / "m.onnx").write_text("{")
    script.on("GET", "/v1/models/mdl_1", {"id": "mdl_1", "name": "m", "status": "ready", "problems": []})
    assert cli.main([a.format(model=tmp_path / "m.onnx") for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and says in err and "Traceback" not in err
    assert err.startswith("error: ") and not any(request.method == "POST" for request in script.asked)


def test_a_bad_address_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["jobs", "ls", "--url", "nowhere"]) == 2
    assert "must begin with http://" in capsys.readouterr().err


@pytest.mark.parametrize(("goal_met", "code"), [(True, 0), (False, 3)])
def test_watch_prints_an_object_a_line(script: Scripted, capsys, goal_met: bool, code: int) -> None:
    script.on("GET", "/v1/jobs/job_1", JOB, JOB, JOB, DONE | {"goal_met": goal_met})
    assert cli.main(["jobs", "watch", "job_1", "--json"]) == code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["running", "succeeded"]


def test_a_cancelled_job_is_exit_1(script: Scripted, capsys) -> None:
    script.on("GET", "/v1/jobs/job_1", JOB | {"status": "cancelled"})
    assert cli.main(["jobs", "watch", "job_1"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "error: job job_1 cancelled" in err
    assert cli.main(["jobs", "watch", "job_1", "--json"]) == 1
    assert [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()] == ["cancelled"]


def test_a_job_that_fails_is_one_document_too(script: Scripted, capsys) -> None:
    row = {"id": "x_1", "name": "x", "status": "ready", "problems": []}
    script.on("GET", "/v1/models/mdl_1", row).on("GET", "/v1/datasets/dat_1", row).on("POST", "/v1/jobs", JOB)
    script.on("GET", "/v1/jobs/job_1", JOB | {"status": "failed", "error": "out of memory"})
    assert cli.main(["prune", "mdl_1", "dat_1", "--rate", "2", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["error"]["message"] == "job job_1 failed: out of memory" and said["job"]["status"] == "failed"


@pytest.mark.parametrize("key", ["sct_secret", "sct_sécret"])
def test_a_key_is_never_printed(slept: Clock, capsys, key: str) -> None:
    assert cli.main(["jobs", "ls", "--url", "http://127.0.0.1:9", "--key", key, "--json"]) in (2, 4)
    assert cli.main(["jobs", "ls", "--key", key, "--limit", "0"]) == 2
    assert "cret" not in "".join(capsys.readouterr())


def test_the_report_is_a_table(script: Scripted, capsys) -> None:
    assert cli.main(["jobs", "report", "job_1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(REPORT["headline"]) and "99.00 %" in out and "-1.00 points" in out and "40.0x" in out
    assert cli.main(["jobs", "report", "job_1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == REPORT


def test_a_refusal_lists_its_pointers(script: Scripted, capsys, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"budget": {"pruning_rate": 2}}')
    faults = [{"pointer": "/plan/layers/0", "detail": "matches no layer"}]
    script.on("POST", "/v1/plans/check", problem(422, "a bad plan", errors=faults))
    assert cli.main(["plan", "check", str(tmp_path / "plan.json"), "--json"]) == 1
    out, err = capsys.readouterr()
    assert "error: a bad plan\n  at /plan/layers/0: matches no layer" in err
    assert json.loads(out)["error"] == {"message": "a bad plan", "status": 422, "errors": faults}


def test_a_plan_is_checked(script: Scripted, capsys, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"budget": {"pruning_rate": 2}}')
    layer = {"name": "fc1", "kind": "dense", "weights": 5000, "keeps": None, "pattern": "n_m", "excluded": False}
    script.on("POST", "/v1/plans/check", {"plan": {}, "layers": [layer], "highest_rate": 123.0})
    assert cli.main(["plan", "check", str(tmp_path / "plan.json")]) == 0
    out = capsys.readouterr().out
    assert "fc1" in out and "5,000" in out and "decided while training" in out and "at most 123x is possible" in out


def test_the_service_may_be_named_before_the_command(monkeypatch: pytest.MonkeyPatch, slept: Clock, capsys) -> None:
    monkeypatch.setenv("SECATEUR_URL", "http://127.0.0.1:7")
    monkeypatch.setenv("SECATEUR_KEY", "unused")  # so that both are put back
    assert cli.main(["--url", "http://127.0.0.1:9", "--key", "mine", "jobs", "ls"]) == 4
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert cli.main(["--url", "http://127.0.0.1:9", "jobs", "ls", "--url", "http://127.0.0.1:8"]) == 4
    assert "127.0.0.1:8" in capsys.readouterr().err


def test_faults_are_said_once(script: Scripted, capsys, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"budget": {"pruning_rate": 0}}')
    fault = {"pointer": "/plan/budget/pruning_rate", "detail": "must be greater than or equal to 1; got 0"}
    script.on("POST", "/v1/plans/check", problem(422, f"{fault['pointer']}: {fault['detail']}", errors=[fault]))
    assert cli.main(["plan", "check", str(tmp_path / "plan.json")]) == 1
    assert capsys.readouterr().err.count("must be greater") == 1


def test_removing_goes_on_after_a_refusal(script: Scripted, capsys) -> None:
    script.on("DELETE", "/v1/models/mdl_1", problem(409, "job_1 uses it")).on("DELETE", "/v1/models/mdl_2", {})
    assert cli.main(["models", "rm", "mdl_1", "mdl_2", "-y", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"deleted": ["mdl_2"]} and err == "error: job_1 uses it\n"


def test_ctrl_c_says_that_the_job_goes_on(script: Scripted, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("secateur.Job.wait", interrupt)
    assert cli.main(["jobs", "watch", "job_1"]) == 130
    assert "`secateur jobs cancel job_1`" in capsys.readouterr().err


def test_a_fault_of_our_own_is_no_traceback(script: Scripted, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    script.on("GET", "/v1/jobs/job_1", DONE | {"labels": None})
    assert cli.main(["jobs", "show", "job_1"]) == 1
    assert "please report it: TypeError" in capsys.readouterr().err


def test_a_report_is_a_plan_for_the_next_job(script: Scripted, tmp_path: Path, monkeypatch, capsys) -> None:
    manifest = {"plan": {"method": "gradual", "budget": {"sparsity": 0.5}}, "data_format": "idx"}
    manifest |= {"preprocess": {"scale": 0.5, "mean": [0.1, 0.2], "size": None}}
    (tmp_path / "report.json").write_text(json.dumps({"headline": "", "manifest": manifest}))
    for name in ("m.onnx", "d.bin"):
        (tmp_path / name).write_bytes(b"x")
    row = {"id": "x_1", "name": "x", "status": "ready", "problems": []}
    script.on("POST", "/v1/models", row).on("POST", "/v1/datasets", row).on("POST", "/v1/jobs", JOB)
    files = [str(tmp_path / name) for name in ("m.onnx", "d.bin")]
    more = ["--plan", str(tmp_path / "report.json"), "--bits", "4", "--scale", "1", "--label", "a", "--label", "b"]
    assert cli.main(["prune", *files, *more, "--no-wait"]) == 0
    assert capsys.readouterr().out == "job_1\n"
    assert [r.url.path for r in script.asked] == ["/v1/plans/check", "/v1/models", "/v1/datasets", "/v1/jobs"]
    query = script.asked[2].url.params
    assert (query["format"], query["scale"], query.get_list("mean")) == ("idx", "1.0", ["0.1", "0.2"])
    body = json.loads(script.asked[3].content)
    assert body["plan"] == manifest["plan"] | {"quantize": {"bits": 4}} and body["labels"] == ["a", "b"]


def test_a_plan_that_is_refused_is_refused_before_anything_is_sent(script: Scripted, tmp_path: Path, capsys) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    script.on("POST", "/v1/plans/check", problem(422, "method: must be one of direct, joint"))
    assert cli.main(["prune", str(tmp_path / "m.onnx"), "dat_1", "--rate", "2", "--method", "foo"]) == 1
    assert "must be one of" in capsys.readouterr().err and len(script.asked) == 1


def test_ids_are_completed_and_silence_is_no_error(script: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    script.on("GET", "/v1/models", {"items": [{"id": "mdl_1"}, {"id": "mdl_2"}], "next_cursor": None})
    context = type("Context", (), {"params": {}})()
    assert options.ids("models")(context, "mdl_2") == ["mdl_2"]  # type: ignore[arg-type]
    script.on("GET", "/v1/models", problem(500, "broken"))
    assert options.ids("models")(context, "mdl_2") == []  # type: ignore[arg-type]


def test_formats_are_guessed_from_names(tmp_path: Path) -> None:
    def archive(*names: str) -> Path:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            for name in names:
                file.writestr(name, b"")
        return tmp_path / "a.zip"

    assert formats.guess(archive("data/train-0.parquet")) == "parquet"
    assert formats.guess(archive("train-images-idx3-ubyte.gz")) == "idx"
    assert formats.guess(archive("train/cat/1.jpg")) == "imagefolder"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        file.addfile(tarfile.TarInfo("train-0.parquet"), io.BytesIO())
    assert formats.guess(tmp_path / "a.tar.gz") == "parquet"
    assert formats.guess(Path("x.npz")) == "npz" and formats.guess(Path("x.csv")) is None
