"""Bad input over HTTP: a sentence, the right status, nothing left behind, no traceback."""

import io
import socket
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from tests.conftest import EXAMPLES, Service, save_npz, tiny_model

PLAN = {"budget": {"pruning_rate": 4}}


@pytest.fixture(scope="module")
def ids(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    data = save_npz(tmp_path_factory.mktemp("bad") / "data.npz").read_bytes()
    return {
        "model_id": service.upload("models", tiny_model().SerializeToString()),
        "dataset_id": service.upload("datasets", data),
    }


def check_problem(response, status: int, says: str) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "detail"} <= set(body) and body["status"] == status
    assert says in body["detail"] and "Traceback" not in response.text
    return body


def rejected(service: Service, noun: str, content: bytes) -> str:
    """Why an upload is rejected."""
    row = service.http.post(f"/v1/{noun}", content=content).json()
    row = service.until(f"/v1/{noun}/{row['id']}", lambda r: r["status"] != "validating")
    assert row["status"] == "rejected"
    assert len(row["problems"]) == 1
    return row["problems"][0]


def broken(change) -> bytes:
    model = tiny_model()
    change(model)
    return model.SerializeToString()


def external(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def unknown(model: ModelProto) -> None:
    model.graph.node[2].op_type = "NonMaxSuppression"


def nan(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(np.full((8, 1, 3, 3), np.nan, np.float32), tensor.name))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"this is not a model", "not an ONNX file"),
        ((EXAMPLES / "digits.onnx").read_bytes()[:100_000], "not an ONNX file, or a truncated one"),
        (broken(external), "'conv1.weight' is kept in another file; save the model as one file"),
        (broken(unknown), "NonMaxSuppression 'relu': this operator is not supported"),
        (broken(nan), "'conv1.weight' holds NaN"),
    ],
    ids=["not ONNX", "truncated", "external data", "operator", "NaN"],
)
def test_a_bad_model_is_rejected_in_words(service: Service, content: bytes, says: str) -> None:
    assert says in rejected(service, "models", content)


def npz(tmp_path: Path, **changes: object) -> bytes:
    return save_npz(tmp_path / "bad.npz", **changes).read_bytes()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"x_train": np.array([{}] * 200, dtype=object)}, "x_train holds Python objects (pickles)"),
        ({"y_train": np.zeros(7, int)}, "x_train holds 200 examples but y_train 7 labels"),
        ({"y_test": np.full(100, -3)}, "y_test holds the label -3"),
    ],
    ids=["pickles", "counts", "negative labels"],
)
def test_a_bad_data_set_is_rejected_in_words(service: Service, tmp_path: Path, changes, says: str) -> None:
    assert says in rejected(service, "datasets", npz(tmp_path, **changes))


def test_missing_arrays_are_named(service: Service) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x_train=np.zeros((3, 1)))
    assert "lacks x_test; it needs x_train, x_test (and y_train" in rejected(service, "datasets", buffer.getvalue())


def test_a_rejected_upload_makes_no_job(service: Service, ids) -> None:
    row = service.http.post("/v1/models", content=b"still not a model").json()
    service.until(f"/v1/models/{row['id']}", lambda r: r["status"] == "rejected")
    response = service.http.post("/v1/jobs", json={**ids, "model_id": row["id"], "plan": PLAN})
    check_problem(response, 422, "was rejected: not an ONNX file")
    check_problem(service.http.get(f"/v1/models/{row['id']}/analysis"), 422, "was rejected")
    assert service.http.delete(f"/v1/models/{row['id']}").status_code == 204
    check_problem(service.http.get(f"/v1/models/{row['id']}"), 404, "there is no model")
    file = service.folder / "artifacts" / row["sha256"][:2] / row["sha256"]
    service.until("/healthz", lambda _: not file.exists(), 10)


@pytest.mark.parametrize(
    ("plan", "pointer", "says"),
    [
        ({}, "/plan/budget", "is missing"),
        (PLAN | {"speed": 3}, "/plan/speed", "there is no such field"),
        ({"budget": {"pruning_rate": 2, "sparsity": 0.5}}, "/plan/budget", "give exactly one of"),
        ({"budget": {"pruning_rate": 0.9}}, "/plan/budget/pruning_rate", "greater than or equal to 1"),
        (PLAN | {"method": "magic"}, "/plan/method", "'direct'"),
        (PLAN | {"admm": {"rounds": 0}}, "/plan/admm/rounds", "greater than or equal to 1"),
        (PLAN | {"layers": [{"match": "conv9", "exclude": True}]}, "/plan/layers/0/match", "matches no layer"),
        ({"budget": {"pruning_rate": 1000}}, "/plan/budget", "ask for a pruning rate of at most"),
    ],
)
def test_a_bad_plan_is_refused_with_a_pointer(service: Service, ids, plan, pointer: str, says: str) -> None:
    before = service.http.get("/v1/jobs").json()["items"][:1]
    body = check_problem(service.http.post("/v1/jobs", json={**ids, "plan": plan}), 422, says)
    assert body["errors"][0]["pointer"] == pointer
    assert service.http.get("/v1/jobs").json()["items"][:1] == before


def test_data_that_does_not_fit_the_model_is_refused_at_once(service: Service, ids, tmp_path: Path) -> None:
    other = service.upload("datasets", npz(tmp_path, shape=(1, 5, 5)))
    response = service.http.post("/v1/jobs", json={**ids, "dataset_id": other, "plan": PLAN})
    check_problem(response, 422, "shape (1, 5, 5); the model's input image takes (1, 6, 6)")
    labels = service.upload("datasets", npz(tmp_path, classes=9))
    response = service.http.post("/v1/jobs", json={**ids, "dataset_id": labels, "plan": PLAN})
    check_problem(response, 422, "labels go up to 8, but the model's output logits has 3 classes")


def test_a_body_that_is_no_json_is_refused(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    check_problem(service.http.post("/v1/jobs", content=b"{'a': 1}", headers=headers), 422, "JSON")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/job_1"),
        ("POST", "/v1/jobs/job_1/cancel"),
        ("POST", "/v1/jobs/job_1/retry"),
        ("GET", "/v1/jobs/job_1/events"),
        ("GET", "/v1/jobs/job_1/metrics"),
        ("GET", "/v1/jobs/job_1/report"),
        ("GET", "/v1/jobs/job_1/artifacts/pruned.onnx"),
        ("GET", "/v1/models/mdl_1"),
        ("DELETE", "/v1/models/mdl_1"),
        ("GET", "/v1/datasets/..%2f..%2fetc%2fpasswd"),
        ("GET", "/nowhere"),
    ],
)
def test_what_does_not_exist_is_a_404(service: Service, method: str, path: str) -> None:
    check_problem(service.http.request(method, path), 404, "")


def test_a_job_on_nothing_is_a_404(service: Service, ids) -> None:
    check_problem(service.http.post("/v1/jobs", json={**ids, "model_id": "mdl_1", "plan": PLAN}), 404, "no model mdl_1")


def test_a_finished_job_cannot_be_cancelled_nor_retried(service: Service, ids) -> None:
    job = service.post_job({**PLAN, "admm": {"rounds": 1}, "retrain": {"epochs": 1}}, **ids)
    assert service.ended(job)["status"] == "succeeded"
    check_problem(service.http.post(f"/v1/jobs/{job}/cancel"), 409, "is succeeded; it cannot be cancelled")
    check_problem(service.http.post(f"/v1/jobs/{job}/retry"), 409, "is succeeded; only a failed or cancelled job")


def test_limits_are_met_before_the_body_is_read(tmp_path: Path) -> None:
    small = Service(tmp_path / "data", max_model_bytes="1000").start()
    try:
        host, port = small.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 413") and "larger than the 1,000 bytes" in answer
        check_problem(small.http.post("/v1/models", content=iter([b"x" * 600] * 3)), 413, "larger than the 1,000 bytes")
        check_problem(small.http.post("/v1/models", content=b""), 422, "the body is empty")
        check_problem(small.http.post("/v1/models", files={"other": b"x"}), 422, "part `file`")
        head = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        cut = small.http.post("/v1/models", content=head + b"AAAA\r\n--", headers=form)
        check_problem(cut, 422, "it is truncated")
        twice = small.http.post("/v1/models", content=(head + b"A\r\n") * 2 + b"--b--\r\n", headers=form)
        check_problem(twice, 422, "more than one part `file`")
        check_problem(small.http.post("/v1/jobs", content=b" " * 2_000_000), 413, "larger than the 1,048,576 bytes")
        check_problem(small.http.post("/v1/jobs", content=iter([b" " * 600_000] * 3)), 413, "larger than the 1,048,576")
        assert [p for p in (small.folder / "artifacts").rglob("*") if p.is_file()] == []
        assert small.http.get("/v1/models").json() == {"items": [], "next_cursor": None}
    finally:
        assert small.stop() == 0


def test_preprocessing_that_cannot_be_is_refused(service: Service) -> None:
    check_problem(service.http.post("/v1/datasets?std=0", content=b"x"), 422, "std: must be greater than 0")
    check_problem(service.http.post("/v1/datasets?mean=1,a", content=b"x"), 422, "mean: give numbers")
    check_problem(service.http.post("/v1/datasets?means=1", content=b"x"), 422, "there is no parameter means")
    check_problem(service.http.post("/v1/models?name=a%00b", content=b"x"), 422, "pattern")
    assert service.http.post("/v1/jobs", content=b"{}").status_code == 422
    check_problem(service.http.post("/v1/jobs", content=b"{}"), 422, "Content-Type: application/json")
    check_problem(service.http.post("/v1/datasets?scale=nan", content=b"x"), 422, "finite")
    check_problem(service.http.post("/v1/datasets?mean=inf", content=b"x"), 422, "finite")
    check_problem(service.http.post("/v1/datasets?format=csv", content=b"x"), 422, "'npz'")
