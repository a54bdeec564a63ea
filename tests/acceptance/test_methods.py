"""Every method, pattern and budget through the service: what the user asked for is in the file that comes back."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from pruning.plan import SETTINGS
from pruning.sparsity import PATTERNS
from tests.conftest import EXAMPLES, Service

SHORT = {"admm": {"rounds": 3}, "retrain": {"epochs": 2}}
PLANS = {
    "progressive": {"method": "progressive", "budget": {"pruning_rate": 12}, "progressive": {"rates": [4]}, **SHORT},
    "joint": {"method": "joint", "budget": {"pruning_rate": 6}, **SHORT},
    "gradual": {
        "method": "gradual",
        "budget": {"pruning_rate": 20},
        "importance": "fisher",
        "gradual": {"epochs": 3, "units": 0.5, "unit_epochs": 2},
        **SHORT,
    },
    "search": {
        "budget": {"max_accuracy_drop": 0.02},
        "search": {"first_rate": 8, "highest_rate": 16, "refinements": 0},
        **SHORT,
    },
    "quantized": {
        "budget": {"pruning_rate": 8},
        "quantize": {"average_bits": 3, "admm": {"rounds": 3}, "retrain": {"epochs": 1}},
        **SHORT,
    },
    "filters": {"pattern": {"kind": "filter"}, "budget": {"multiply_adds_share": 0.5}, "allocation": "erk", **SHORT},
    "columns": {"pattern": {"kind": "column"}, "budget": {"sparsity": 0.6}, "allocation": "lamp", **SHORT},
}


@pytest.fixture(scope="module")
def ids(service: Service) -> dict[str, str]:
    return {
        "model_id": service.upload("models", (EXAMPLES / "digits.onnx").read_bytes()),
        "dataset_id": service.upload("datasets", (EXAMPLES / "digits.npz").read_bytes()),
    }


@pytest.mark.parametrize("name", PLANS)
def test_what_was_asked_for_comes_back(service: Service, ids: dict[str, str], name: str) -> None:
    job = service.ended(service.post_job(PLANS[name], **ids))
    assert job["status"] == "succeeded", job["error"]
    report = service.http.get(f"/v1/jobs/{job['id']}/report").json()
    content = service.http.get(f"/v1/jobs/{job['id']}/artifacts/pruned.onnx").content
    weights = [numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer if len(t.dims) > 1]
    kept = sum(int(np.count_nonzero(w)) for w in weights)
    assert kept == report["compression"]["weights_kept"]
    assert job["goal_met"] == report["goal_met"] and (report["goal_met"] or name == "search")
    data = np.load(EXAMPLES / "digits.npz")
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    output = np.asarray(session.run(None, {"image": data["x_test"].astype(np.float32)})[0])
    assert report["accuracy"]["pruned"] == pytest.approx((output.argmax(1) == data["y_test"]).mean())
    metrics = service.http.get(f"/v1/jobs/{job['id']}/metrics").json()
    assert metrics["step"] == list(range(len(metrics["step"])))
    assert all(v is not None for v in metrics["accuracy_pruned"][1:])
    if name == "search":
        reached = [point["pruning_rate"] for point in report["search"]]
        assert reached == pytest.approx([8, 16][: len(reached)], rel=0.1)
    if name == "quantized":
        assert all(layer["bits"] <= 8 for layer in report["layers"]) and report["compression"]["value_bits"] <= 3 * kept
        assert len(set(np.abs(weights[0][weights[0] != 0]).tolist())) <= 2 ** (report["layers"][0]["bits"] - 1)
    if name in ("filters", "joint", "gradual"):
        assert len(content) < 0.75 * (EXAMPLES / "digits.onnx").stat().st_size, "what is gone takes no room"


def test_the_schema_names_every_method_pattern_and_budget(service: Service) -> None:
    found = service.http.get("/v1/methods").json()
    assert set(found["methods"]) == set(SETTINGS) and set(found["patterns"]) == set(PATTERNS)
    assert set(found["budget"]["properties"]) == {
        "pruning_rate",
        "sparsity",
        "multiply_adds_share",
        "bytes",
        "max_accuracy_drop",
    }


@pytest.mark.parametrize(
    ("plan", "pointer", "says"),
    [
        ({"budget": {"max_accuracy_drop": 0.01}, "method": "direct"}, "/plan", "use"),
        ({"budget": {"pruning_rate": 2}, "pattern": {"kind": "n_m", "n": 4, "m": 4}}, "/plan/pattern", "less than m"),
        ({"budget": {"pruning_rate": 9}, "pattern": {"kind": "n_m"}}, "/plan/budget", "at most 1.9"),
        ({"budget": {"multiply_adds_share": 1e-6}, "pattern": {"kind": "filter"}}, "/plan/budget", "at least"),
        (
            {"budget": {"pruning_rate": 2}, "layers": [{"match": "fc1", "pattern": {"kind": "kernel"}}]},
            "/plan/layers/0/pattern",
            "it can take",
        ),
        (
            {"budget": {"pruning_rate": 2}, "quantize": {"layers": [{"match": "nothing", "bits": 2}]}},
            "/plan/quantize/layers/0/match",
            "matches no layer",
        ),
        ({"budget": {"pruning_rate": 2}, "quantize": {"bits": 1}}, "/plan/quantize/bits", "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_is_refused_at_once(service: Service, ids, plan, pointer: str, says: str) -> None:
    response = service.http.post("/v1/jobs", json={**ids, "plan": plan})
    assert response.status_code == 422
    errors = response.json()["errors"]
    assert any(error["pointer"].startswith(pointer) and says in error["detail"] for error in errors), errors
