"""PyTorch modules as ONNX files."""

import json

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


def test_a_goal_beside_another_is_refused() -> None:
    with Scripted().client() as client:
        with pytest.raises(BadPlan, match="not both"):
            client.prune("m.onnx", "d.npz", rate=5, plan={"budget": {"sparsity": 0.5}})
        with pytest.raises(BadPlan, match="give only one of rate, max_drop"):
            client.prune("m.onnx", "d.npz", rate=5, max_drop=0.01)
        with pytest.raises(BadPlan, match="Give one of rate, sparsity"):
            client.prune("m.onnx", "d.npz")


def test_names_that_are_not_there_are_said() -> None:
    with Scripted().client() as client:
        with pytest.raises(TypeError, match=r"no parameter rat; there are .*rate.*sparsity.*scale.*plan"):
            client.prune("m.onnx", "d.npz", rat=2)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="an example of its input"):
            client.prune(torch.nn.Linear(2, 1), "d.npz", rate=2)  # type: ignore[call-overload]


def test_every_goal_of_the_command_line_has_a_name() -> None:
    row = {"id": "x_1", "name": "x", "status": "ready", "problems": []}
    script = Scripted().on("GET", "/v1/models/mdl_1", row).on("GET", "/v1/datasets/dat_1", row)
    with script.on("POST", "/v1/jobs", JOB).client() as client:
        client.prune("mdl_1", "dat_1", bytes=4000, plan={"method": "gradual"})
    assert json.loads(script.asked[-1].content)["plan"] == {"method": "gradual", "budget": {"bytes": 4000}}


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
    assert script.asked[2].url.params["format"] == "npz" and script.asked[2].content[:2] == b"PK"
    assert b'"pruning_rate":5' in script.asked[3].content.replace(b" ", b"")
