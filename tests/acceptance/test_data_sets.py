"""Data sets of other kinds than npz, over HTTP: folders of images, Parquet, and none with labels."""

import io

import numpy as np
import onnxruntime as ort
import pytest
from secateur import Secateur, SecateurError

from tests.conftest import Service, bytes_of_rows, folders, pack, tiny_model
from tests.unit.pruning.data.test_formats import as_images_in_parquet

PLAN = {
    "budget": {"pruning_rate": 3},
    "admm": {"rounds": 2, "learning_rate": 5e-3, "rho": 0.05},
    "retrain": {"epochs": 3, "learning_rate": 5e-3},
}


@pytest.fixture(scope="module")
def model(service: Service) -> str:
    return service.upload("models", tiny_model().SerializeToString())


def test_a_job_on_folders_of_images(service: Service, model: str, tmp_path) -> None:
    arrays = bytes_of_rows(300)
    path = pack(tmp_path / "images.tar.gz", folders(arrays))
    with Secateur(service.url) as client:
        data = client.upload_dataset(path, format="imagefolder", scale=1 / 255, color="gray", size=6)
        assert data["preprocess"]["size"] == [6, 6] and data["preprocess"]["color"] == "gray"
        assert data["summary"]["class_names"] == ["class0", "class1", "class2"]
        assert data["summary"]["splits"]["train"] == {
            "examples": 300,
            "shape": [1, 6, 6],
            "dtype": "uint8",
            "inputs": {},
        }
        job = client.submit(model, data["id"], PLAN).wait()
        pruned = job.download(tmp_path, "pruned.onnx")[0].read_bytes()
        report, job_warnings = job.report(), job.warnings()
    x = arrays["x_test"][:, None].astype(np.float32) * np.float32(1 / 255)
    output = np.asarray(ort.InferenceSession(pruned, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0])
    assert report["accuracy"]["pruned"] == pytest.approx((output.argmax(1) == arrays["y_test"]).mean())
    assert report["accuracy"]["pruned"] > 0.5 and report["manifest"]["data_format"] == "imagefolder"
    events = service.http.get(f"/v1/jobs/{job.id}/events").json()["items"]
    warnings = [e["data"]["text"] for e in events if e["kind"] == "warning"]
    assert len(warnings) == 1 and "scale=0.00392157" in warnings[0] and job_warnings == warnings
    assert "as good as chance" in report["notes"][0]
    first_round = next(e["seq"] for e in events if e["kind"] == "round" and e["data"]["round"] == 1)
    assert next(e["seq"] for e in events if e["kind"] == "warning") < first_round


def test_a_job_without_labels(service: Service, model: str) -> None:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    np.savez(buffer, **{f"x_{s}": rng.random((200, 1, 6, 6), dtype=np.float32) for s in ("train", "test")})  # type: ignore[arg-type]
    data = service.upload("datasets", buffer.getvalue())
    assert service.http.get(f"/v1/datasets/{data}").json()["summary"]["targets"] == "none"
    body = {"model_id": model, "dataset_id": data, "plan": PLAN | {"train": {"loss": "cross_entropy"}}}
    refused = service.http.post("/v1/jobs", json=body)
    assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "/plan/train/loss"
    done = service.ended(service.post_job(PLAN, model_id=model, dataset_id=data))
    assert done["status"] == "succeeded", done["error"]
    report = service.http.get(f"/v1/jobs/{done['id']}/report").json()
    assert (report["accuracy"]["metric"], report["accuracy"]["dense"]) == ("agreement", 1)
    assert 0.5 < report["accuracy"]["pruned"] <= 1 and "agreement with the dense model 100.00 %" in report["headline"]
    page = service.http.get(f"/v1/jobs/{done['id']}/report", headers={"Accept": "text/html"}).text
    assert "Agreement with the dense model, 200 test images" in page


def test_parquet_is_read_and_kept_decoded(service: Service, tmp_path) -> None:
    path = as_images_in_parquet(tmp_path / "data", bytes_of_rows())
    data = service.upload("datasets", path.read_bytes(), format="parquet", name="data.zip")
    row = service.http.get(f"/v1/datasets/{data}").json()
    assert (row["format"], row["summary"]["classes"]) == ("parquet", 3)
    content = service.http.get(f"/v1/datasets/{data}/content")
    assert content.headers["content-disposition"].endswith('"data.zip"')
    cached = list((service.folder / "cache").glob(f"*/{row['sha256']}-*"))
    assert len(cached) == 1
    assert service.http.delete(f"/v1/datasets/{data}").status_code == 204
    service.until("/healthz", lambda _: not cached[0].exists(), 20)


def test_what_cannot_be_read_is_said(service: Service, tmp_path) -> None:
    path = pack(tmp_path / "data.zip", folders(bytes_of_rows()))
    with Secateur(service.url) as client:
        with pytest.raises(SecateurError, match="say that its format is another: imagefolder, parquet or idx"):
            client.upload_dataset(path, format="npz")
        with pytest.raises(SecateurError, match="size: give numbers, such as size=224,224"):
            client.upload_dataset(path, format="imagefolder", size="big")
        with pytest.raises(SecateurError, match=r"size.*: must be less than or equal to 4096"):
            client.upload_dataset(path, format="imagefolder", size=10_000)
