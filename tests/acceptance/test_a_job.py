"""A user's first job over HTTP, on the embedded default: FastAPI, Celery, Valkey and SQLite for real."""

import hashlib
import json
import re
import threading

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from secateur import Secateur, SecateurError

from tests.conftest import EXAMPLES, Service

PLAN = {"budget": {"pruning_rate": 20}}


@pytest.fixture(scope="module")
def done(service: Service) -> dict:
    model = service.upload("models", (EXAMPLES / "digits.onnx").read_bytes(), name="digits.onnx")
    data = service.upload("datasets", (EXAMPLES / "digits.npz").read_bytes())
    job = service.post_job(PLAN, model_id=model, dataset_id=data, name="first", labels=["trial", "a-b"])
    return service.ended(job)


def test_it_succeeds_and_says_how(service: Service, done: dict) -> None:
    assert done["status"] == "succeeded", done["error"]
    assert (done["progress"], done["goal_met"], done["attempt"], done["error"]) == (1, True, 1, None)
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    assert service.http.get("/v1/jobs", params={"label": "a-b", "status": "succeeded"}).json()["items"][0] == done
    assert service.http.get("/v1/jobs", params={"label": "a"}).json()["items"] == []


def test_the_file_is_what_the_report_says(service: Service, done: dict) -> None:
    report = service.http.get(f"/v1/jobs/{done['id']}/report").json()
    files = {f["name"]: f for f in service.http.get(f"/v1/jobs/{done['id']}/artifacts").json()["items"]}
    assert set(files) == {
        *("pruned.onnx", "packed.onnx", "report.json", "report.html", "manifest.json", "masks.safetensors")
    }
    response = service.http.get(files["pruned.onnx"]["url"])
    assert hashlib.sha256(response.content).hexdigest() == files["pruned.onnx"]["sha256"]
    assert response.headers["etag"] == f'"{files["pruned.onnx"]["sha256"]}"'
    part = service.http.get(files["pruned.onnx"]["url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, response.content[10:20])
    onnx.checker.check_model(onnx.load_from_string(response.content))
    data = np.load(EXAMPLES / "digits.npz")
    session = ort.InferenceSession(response.content, providers=["CPUExecutionProvider"])
    right = np.asarray(session.run(None, {"image": data["x_test"].astype(np.float32)})[0]).argmax(1) == data["y_test"]
    assert report["accuracy"]["pruned"] == pytest.approx(right.mean())
    assert report["accuracy"]["pruned"] > 0.95
    assert report["compression"]["pruning_rate"] == pytest.approx(20, abs=0.01)
    assert report["manifest"]["plan"]["budget"] == PLAN["budget"]
    assert report["manifest"]["model_name"] == "digits.onnx" and "pruning digits.onnx" in report["manifest"]["command"]
    assert [r["step"] for r in report["history"]] == list(range(1, 16))


def test_the_row_says_what_the_report_says(service: Service, done: dict) -> None:
    report, result = service.http.get(f"/v1/jobs/{done['id']}/report").json(), done["result"]
    assert (done["model_name"], done["dataset_name"]) == ("digits.onnx", "data")
    assert (result["headline"], result["goal_met"]) == (report["headline"], True)
    assert result["drop"] == report["accuracy"]["drop"] and result["speedup"] == report["latency"]["speedup"]
    assert result["bytes_packed"] == report["compression"]["bytes"]["packed"] < result["bytes_pruned"]


def test_jobs_are_found_by_what_they_are_called(service: Service, done: dict) -> None:
    def found(**only: str) -> list[str]:
        return [j["id"] for j in service.http.get("/v1/jobs", params={"limit": 200, **only}).json()["items"]]

    for text in ("FIRST", "a-b", done["id"][8:], "igits.onn"):
        assert done["id"] in found(q=text, dataset_id=done["dataset_id"]), text
    assert found(q="%") == [] == found(q="no such thing")


def test_a_plan_is_checked_without_a_job(service: Service, done: dict) -> None:
    def check(plan: dict, **of: str) -> httpx.Response:
        return service.http.post("/v1/plans/check", json={"plan": plan, **of})

    of = {"model_id": done["model_id"], "dataset_id": done["dataset_id"]}
    rules = [{"match": "conv1", "exclude": True}, {"match": "fc2", "sparsity": 0.5}]
    body = check({"budget": {"pruning_rate": 8}, "layers": rules}, **of).json()
    assert body["plan"]["admm"]["rounds"] > 0 and body["highest_rate"] > 50
    keeps = {layer["name"]: (layer["keeps"], layer["excluded"]) for layer in body["layers"]}
    assert keeps == {"conv1": (288, True), "conv2": (None, False), "fc1": (None, False), "fc2": (640, False)}
    refused = check({"budget": {"pruning_rate": 1e5}}, **of)
    assert refused.status_code == 422 and "ask for a pruning rate of at most" in refused.json()["detail"]
    assert check({"budget": {}}).json()["errors"][0]["pointer"] == "/plan/budget"
    assert check(PLAN).json()["layers"] == [] and check(PLAN, model_id="mdl_0").status_code == 404


def test_the_report_is_a_page_for_those_who_ask(service: Service, done: dict) -> None:
    page = service.http.get(f"/v1/jobs/{done['id']}/report", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "76,320 weights became 3,816" in page.text and "src=" not in page.text


def test_events_are_numbered_without_gaps_and_metrics_follow(service: Service, done: dict) -> None:
    page = service.http.get(f"/v1/jobs/{done['id']}/events", params={"limit": 5}).json()
    events = list(page["items"])
    while page["next_cursor"] is not None:
        page = service.http.get(f"/v1/jobs/{done['id']}/events", params={"after": page["next_cursor"]}).json()
        events += page["items"]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e["data"]["status"] for e in events if e["kind"] == "status"] == ["queued", "running", "succeeded"]
    phases = [e["data"]["phase"] for e in events if e["kind"] == "phase"]
    assert phases == ["import", "baseline", "admm", "prune", "retrain", "remove", "pack", "verify", "measure", "report"]
    metrics = service.http.get(f"/v1/jobs/{done['id']}/metrics").json()
    assert metrics["step"] == list(range(16)) and len({len(v) for k, v in metrics.items() if k != "layers"}) == 1
    report = service.http.get(f"/v1/jobs/{done['id']}/report").json()
    assert metrics["layers"] == pytest.approx({x["name"]: x["sparsity"] for x in report["layers"]}, abs=0.05)
    assert metrics["primal"][0] is None and metrics["primal"][1] > metrics["primal"][10] > 0


def test_server_sent_events_replay_from_the_last_id(service: Service, done: dict) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "2"}
    with service.http.stream("GET", f"/v1/jobs/{done['id']}/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    ids = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
    last = json.loads([line for line in text.splitlines() if line.startswith("data: ")][-1][6:])
    assert ids == list(range(3, ids[-1] + 1)) and last["data"] == {"status": "succeeded"}


def test_prometheus_counts_jobs(service: Service, done: dict) -> None:
    assert 'secateur_jobs{status="succeeded"}' in service.http.get("/metrics").text


def test_the_same_bytes_are_the_same_model(service: Service, done: dict) -> None:
    again = service.http.post("/v1/models", content=(EXAMPLES / "digits.onnx").read_bytes())
    assert (again.status_code, again.json()["id"]) == (200, done["model_id"])
    form = service.http.post("/v1/models", files={"file": ("other.onnx", (EXAMPLES / "digits.onnx").read_bytes())})
    assert (form.status_code, form.json()["id"]) == (200, done["model_id"])
    content = service.http.get(f"/v1/models/{done['model_id']}/content").content
    assert content == (EXAMPLES / "digits.onnx").read_bytes()
    other = service.http.post("/v1/datasets?scale=0.5", content=(EXAMPLES / "digits.npz").read_bytes())
    assert other.status_code == 201 and other.json()["id"] != done["dataset_id"]


def test_the_analysis_says_what_can_be_pruned(service: Service, done: dict) -> None:
    analysis = service.http.get(f"/v1/models/{done['model_id']}/analysis").json()
    assert [(x["name"], x["kind"], x["weights"]) for x in analysis["layers"]] == [
        ("conv1", "conv", 288),
        ("conv2", "conv", 9216),
        ("fc1", "dense", 65536),
        ("fc2", "dense", 1280),
    ]
    assert analysis["weights"] == 76_320 and analysis["inputs"][0]["shape"] == [None, 1, 8, 8]


def test_what_a_job_speaks_of_is_kept(service: Service, done: dict) -> None:
    refused = service.http.delete(f"/v1/models/{done['model_id']}")
    assert refused.status_code == 409
    (named,) = re.findall(r"job_\w+", refused.json()["detail"])  # other tests have jobs of the same model
    assert service.http.get(f"/v1/jobs/{named}").json()["model_id"] == done["model_id"]


def test_a_doubled_post_makes_one_job(service: Service, done: dict, name: str) -> None:
    body = {"model_id": done["model_id"], "dataset_id": done["dataset_id"], "plan": PLAN}
    answers: list = []

    def post() -> None:
        answers.append(service.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": name}))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status_code for a in answers) == [200] * 7 + [201]
    assert len({a.json()["id"] for a in answers}) == 1
    other = service.http.post("/v1/jobs", json=body | {"name": "x"}, headers={"Idempotency-Key": name})
    assert other.status_code == 422 and "another body" in other.json()["detail"]
    service.http.post(f"/v1/jobs/{answers[0].json()['id']}/cancel")


def test_the_examples_of_the_document_work_when_pasted(service: Service, done: dict) -> None:
    document = service.http.get("/openapi.json").json()
    fields = document["components"]["schemas"]["JobIn"]["properties"]
    body = {name: field["examples"][0] for name, field in fields.items()}
    posted = service.http.post("/v1/jobs", json=body)
    assert posted.status_code == 201, posted.text
    service.http.post(f"/v1/jobs/{posted.json()['id']}/cancel")
    for path, operations in document["paths"].items():
        if "get" not in operations or "{name}" in path or path.endswith("/report"):
            continue
        if path.startswith(("/v1/keys", "/v1/quotas", "/v1/transfers")):
            continue  # there are no keys here, and no upload under way
        for parameter in operations["get"].get("parameters", []):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        assert service.http.get(path).status_code == 200, path


def test_the_python_client(service: Service, tmp_path) -> None:
    with Secateur(service.url) as client:
        check_client(client, tmp_path)


def check_client(client: Secateur, tmp_path) -> None:
    seen = []
    job = client.prune(EXAMPLES / "digits.onnx", EXAMPLES / "digits.npz", rate=5, plan={"retrain": {"epochs": 1}})
    job.wait(lambda j: seen.append(j.state["progress"]))
    assert seen == sorted(seen) and job.report()["compression"]["pruning_rate"] >= 5
    assert onnx.load(job.download(tmp_path, "pruned.onnx")[0]).graph.node
    with pytest.raises(SecateurError, match="it cannot be cancelled") as error:
        job.cancel()
    assert error.value.status == 409
    with pytest.raises(SecateurError, match="greater than or equal to 1"):
        client.prune(EXAMPLES / "digits.onnx", EXAMPLES / "digits.npz", rate=0.5)
    with pytest.raises(SecateurError, match="was rejected: not an ONNX"):
        client.upload_model(__file__)


def test_a_job_that_has_ended_can_be_removed(service: Service, done: dict) -> None:
    ids = {"model_id": done["model_id"], "dataset_id": done["dataset_id"]}
    used = service.http.get(f"/v1/models/{done['model_id']}").json()["jobs"]
    job = service.post_job({**PLAN, "admm": {"rounds": 200}}, **ids)
    refused = service.http.delete(f"/v1/jobs/{job}")
    assert refused.status_code == 409 and "cancel it first" in refused.json()["detail"]
    service.http.post(f"/v1/jobs/{job}/cancel")
    service.ended(job)
    assert service.http.get(f"/v1/models/{done['model_id']}").json()["jobs"] == used + 1
    assert service.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert service.http.get(f"/v1/jobs/{job}").status_code == 404
    assert service.http.get(f"/v1/models/{done['model_id']}").json()["jobs"] == used
