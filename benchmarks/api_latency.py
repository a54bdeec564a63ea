"""Start of the API, GET and POST of a job, and the time to the first training step, on the embedded default."""

import statistics
import subprocess
import sys
import time

import httpx

from benchmarks.results import DATA, HOUSE, running_service, save

GETS, POSTS = 500, 100


def main() -> None:
    values: dict[str, object] = {"import of the API, s (median of 5)": round(statistics.median(_imports()), 3)}
    with running_service() as (url, _, _), httpx.Client(base_url=url, timeout=60) as http:
        ids = {
            "model_id": _upload(http, "models", (DATA / "lenet5.onnx").read_bytes()),
            "dataset_id": _upload(http, "datasets", (DATA / "mnist.npz").read_bytes()),
        }
        values["POST to first training step, s"] = round(_first_step(http, ids), 2)
        job = http.post("/v1/jobs", json={**ids, "plan": {"budget": {"pruning_rate": 5}}}).json()["id"]
        gets = [_ms(lambda: http.get(f"/v1/jobs/{job}")) for _ in range(GETS)]
        posts = [
            _ms(lambda: http.post("/v1/jobs", json={**ids, "plan": {"budget": {"pruning_rate": 5}}}))
            for _ in range(POSTS)
        ]
    values["GET /v1/jobs/{id}, ms (median)"] = round(statistics.median(gets), 2)
    values["GET /v1/jobs/{id}, ms (p99)"] = round(statistics.quantiles(gets, n=100)[98], 2)
    values["POST /v1/jobs, ms (median)"] = round(statistics.median(posts), 2)
    values["POST /v1/jobs, ms (p99)"] = round(statistics.quantiles(posts, n=100)[98], 2)
    save("api_latency", values)


def _imports() -> list[float]:
    """Until the application is made and answers /healthz, in a new interpreter."""
    code = (
        "import sys; from fastapi.testclient import TestClient; from api.app import create; "
        "assert TestClient(create()).get('/healthz').status_code == 200; assert 'torch' not in sys.modules"
    )
    return [_ms(lambda: subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True)) / 1e3 for _ in range(5)]


def _first_step(http: httpx.Client, ids: dict[str, str]) -> float:
    """The progress of a job moves past the start of training with its first step."""
    start = time.perf_counter()
    job = http.post("/v1/jobs", json={**ids, "plan": {"budget": {"pruning_rate": 20}}}).json()["id"]
    while http.get(f"/v1/jobs/{job}").json()["progress"] <= 0.05:
        time.sleep(0.02)
    taken = time.perf_counter() - start
    http.post(f"/v1/jobs/{job}/cancel")
    while http.get(f"/v1/jobs/{job}").json()["status"] != "cancelled":
        time.sleep(0.1)
    return taken


def _upload(http: httpx.Client, noun: str, content: bytes) -> str:
    row = http.post(f"/v1/{noun}", content=content).json()
    while row["status"] == "validating":
        time.sleep(0.1)
        row = http.get(f"/v1/{noun}/{row['id']}").json()
    return row["id"]


def _ms(work) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
