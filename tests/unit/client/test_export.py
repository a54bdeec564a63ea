"""PyTorch modules as ONNX files."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from secateur import BadPlan
from secateur.export import to_onnx
from secateur.order import order
from secateur.sources import Source

from tests.unit.client.service import JOB, Scripted


class Two(torch.nn.Module):
    """Two inputs, and a part that differs in training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = torch.nn.Linear(4, 3), torch.nn.Dropout(0.5)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.drop(self.linear(a + b))


class Stubborn(torch.nn.Module):
    """Works for a batch of two only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 6) @ torch.ones(6, 3)


def session(source: Source) -> ort.InferenceSession:
    return ort.InferenceSession(source.content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("has_onnxscript", [True, False])
def test_a_module_is_exported_for_any_batch_and_keeps_its_modes(monkeypatch, has_onnxscript: bool) -> None:
    if not has_onnxscript:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    net = Two()
    net.linear.eval()
    source = to_onnx(net, (torch.zeros(1, 4), torch.zeros(1, 4)))
    assert (net.training, net.linear.training, net.drop.training) == (True, False, True)
    assert isinstance(source.content, bytes) and source.name == "Two.onnx"
    onnx.checker.check_model(onnx.load_from_string(source.content))
    running = session(source)
    x = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    (got,) = running.run(None, {i.name: x for i in running.get_inputs()})
    want = net.eval()(torch.from_numpy(x), torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5, atol=1e-6)


def test_a_module_of_one_batch_size_is_exported_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="the batch of Stubborn is fixed at 2"):
        source = to_onnx(Stubborn(), torch.zeros(2, 6))
    assert session(source).get_inputs()[0].shape == [2, 6]


def test_an_example_that_does_not_fit_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"Two does not run on an example of shape \(1, 5\), \(1, 5\): .*multiplied"):
        to_onnx(Two(), (torch.zeros(1, 5), torch.zeros(1, 5)))


def test_a_rate_beside_a_budget_is_refused() -> None:
    with Scripted().client() as client, pytest.raises(BadPlan, match="not both"):
        client.prune("m.onnx", "d.npz", rate=5, plan={"budget": {"sparsity": 0.5}})


def test_arguments_are_sorted() -> None:
    assert order("m.onnx", "d.npz", 20) == order("m.onnx", data="d.npz", rate=20)
    made = order(torch.nn.Linear(2, 1), torch.zeros(1, 2), "d.npz", rate=5)
    assert isinstance(made.model, Source) and (made.data, made.rate) == ("d.npz", 5)
    with pytest.raises(TypeError, match="data"):
        order("m.onnx")


def test_a_module_and_arrays_are_uploaded() -> None:
    row = {"id": "mdl_1", "name": "x", "status": "ready", "problems": []}
    script = Scripted().on("POST", "/v1/models", row).on("POST", "/v1/datasets", row).on("POST", "/v1/jobs", JOB)
    data = {"x_train": torch.ones(3, 2, requires_grad=True), "y_train": np.arange(3)}
    with script.client() as client:
        assert client.prune(torch.nn.Linear(2, 1), torch.zeros(1, 2), data, rate=5, labels=["a"]).id == "job_1"
    assert script.asked[1].url.params["format"] == "npz" and script.asked[1].content[:2] == b"PK"
    assert b'"pruning_rate":5' in script.asked[2].content.replace(b" ", b"")
