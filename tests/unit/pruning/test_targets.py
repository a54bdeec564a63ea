"""A whole job for each kind of target: it learns, and the report's number is counted again from the delivered file."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pruning.errors import InvalidPlan
from pruning.measure import run, session
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from pruning.report import METRICS
from tests.unit.pruning.test_pipeline import SMALL, Recorder
from worker import checkpoints

FEATURES = 6


def model(width: int, end: str | None = None) -> bytes:
    """Gemm, Relu, Gemm, and one more node."""
    rng = np.random.default_rng(2)
    shapes = {"w1": (24, FEATURES), "b1": (24,), "w2": (width, 24), "b2": (width,)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(s) / 3).astype(np.float32), name) for name, s in shapes.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "fc1", transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z" if end else "y"], "fc2", transB=1),
        *([helper.make_node(end, ["z"], ["y"])] if end else []),
    ]
    return packed(nodes, weights, (FEATURES,), (width,))


def convolutions(classes: int) -> bytes:
    """A score for each class at each position."""
    rng = np.random.default_rng(2)
    shapes = {"w1": (8, 1, 3, 3), "w2": (classes, 8, 3, 3)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(s) / 3).astype(np.float32), name) for name, s in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["h"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["y"], "conv2", pads=[1, 1, 1, 1]),
    ]
    return packed(nodes, weights, (1, 6, 6), (classes, 6, 6))


def packed(nodes, weights, given: tuple[int, ...], gives: tuple[int, ...]) -> bytes:
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in (("x", given), ("y", gives))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def one_hot(x):
    return np.eye(3)[x[:, :3].argmax(1)]


# kind: model, targets of the examples x (None: no labels), metric, changes to the plan
KINDS = {
    "classes": (model(3), lambda x: x[:, :3].argmax(1), "top1", {}),
    "one-hot": (model(3, "Softmax"), one_hot, "top1", {}),
    "binary": (model(1, "Sigmoid"), lambda x: (x[:, 0] > x[:, 1]).astype(int), "top1", {}),
    "labels": (model(3, "Sigmoid"), lambda x: (x[:, :3] > 0.5).astype(np.uint8), "f1", {}),
    "numbers": (model(2), lambda x: np.stack([x[:, 0] + x[:, 1], x[:, 2]], 1), "mse", {}),
    "positions": (convolutions(2), lambda x: (x[:, 0] > 0.5).astype(int), "top1", {}),
    "scores": (model(3, "LogSoftmax"), None, "agreement", {}),
    "values": (model(1), None, "r2", {}),
    "values of several outputs": (model(3), None, "r2", {"loss": "mse"}),
    "distilled": (model(3), lambda x: x[:, :3].argmax(1), "top1", {"loss": "distill"}),
}
LEARNT = {"classes", "one-hot", "binary", "labels", "numbers", "positions"}


def data(path, content, target):
    rng = np.random.default_rng(0)
    shape = (1, 6, 6) if content == convolutions(2) else (FEATURES,)
    arrays = {f"x_{s}": rng.random((n, *shape), dtype=np.float32) for s, n in (("train", 300), ("test", 80))}
    if target is not None:
        arrays |= {f"y_{s}": target(arrays[f"x_{s}"]) for s in ("train", "test")}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path, arrays


def order(tmp_path, kind, **more):
    content, target, _, train = KINDS[kind]
    path, arrays = data(tmp_path / "data.npz", content, target)
    plan = Plan.model_validate(SMALL | {"budget": {"pruning_rate": 1.5}, "train": train})
    return Order(content, path, plan, **more), arrays


def outputs(content, x):
    return np.asarray(ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0])


def recounted(kind, output, y, dense):
    """The metric by other means than the code's: here the outputs are known to be probabilities where there are any."""
    if kind == "scores":
        return (output.argmax(1) == dense.argmax(1)).mean()
    if kind.startswith("values"):
        return 1 - ((output - dense) ** 2).sum() / ((dense - dense.mean(0)) ** 2).sum()
    if kind == "binary":
        return ((output[:, 0] > 0.5) == y).mean()
    if kind == "labels":
        said, true = output > 0.5, y == 1
        return 2 * (said & true).sum() / (said.sum() + true.sum())
    if kind == "numbers":
        return ((output - y) ** 2).mean()
    return (output.argmax(1) == (y.argmax(1) if kind == "one-hot" else y)).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_of_each_kind(tmp_path, kind):
    asked, arrays = order(tmp_path, kind)
    listener = Recorder()
    delivery = prune(asked, listener)
    said = delivery.report.accuracy
    dense = outputs(asked.model, arrays["x_test"])
    after = outputs(delivery.files["pruned.onnx"], arrays["x_test"])
    y = arrays.get("y_test")
    assert said.metric == KINDS[kind][2] and said.examples == 80
    assert said.dense == pytest.approx(recounted(kind, dense, y, dense), rel=1e-4)
    assert said.pruned == pytest.approx(recounted(kind, after, y, dense), rel=1e-4)
    worse = said.pruned - said.dense if said.metric == "mse" else said.dense - said.pruned
    assert said.drop == pytest.approx(worse)
    assert METRICS[said.metric][0] in delivery.report.headline
    if kind in LEARNT:
        assert said.drop < 0, "a net of random weights learns"
    if y is None:
        assert said.dense == 1 and any("the dense file counts as right" in note for note in delivery.report.notes)
        assert said.pruned > 0.6


@pytest.mark.parametrize("kind", ["scores", "numbers"])
def test_resumed_equals_uninterrupted(tmp_path, kind):
    """The teacher is the dense net again, and of mean squared errors the lowest is best."""
    asked, _ = order(tmp_path, kind)
    whole = Recorder()
    expected = prune(asked, whole)
    for checkpoint in (whole.checkpoints[0], whole.checkpoints[-1]):
        got = prune(asked, Recorder(), checkpoints.load(checkpoints.dump(checkpoint)))
        assert got.files["pruned.onnx"] == expected.files["pruned.onnx"]


def test_of_errors_the_lowest_is_best(tmp_path):
    asked, _ = order(tmp_path, "numbers")
    listener = Recorder()
    prune(asked, listener)
    best = [c.numbers["best"] for c in listener.checkpoints if c.phase == "retrain"]
    errors = [m.values["accuracy"] for m in listener.metrics if m.phase == "retrain"]
    assert best[-1] >= -min(errors) and all(b < 0 for b in best)


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_a_dense_model_near_chance_is_told_of_first(tmp_path, kind):
    asked, _ = order(tmp_path, kind)
    listener = Recorder()
    report = prune(asked, listener).report
    expected = kind != "labels"  # random weights say yes to some
    assert bool(listener.warnings) == expected
    if expected:
        assert "about as good as chance" in listener.warnings[0]
        assert "scale=1, mean=0, std=1, layout=nchw and then lie between" in listener.warnings[0]
        assert any("about as good as chance" in note for note in report.notes)


def test_a_loss_that_does_not_fit_is_refused(tmp_path):
    asked, _ = order(tmp_path, "numbers")
    plan = Plan.model_validate(SMALL | {"train": {"loss": "cross_entropy"}})
    with pytest.raises(InvalidPlan, match="the loss cross_entropy does not fit") as error:
        prune(Order(asked.model, asked.data, plan), Recorder())
    assert error.value.pointer == "/train/loss"


def two_headed() -> bytes:
    """Scores of classes, and numbers beside that no targets are for."""
    rng = np.random.default_rng(0)
    shapes = {"w": (6, 32), "b": (32,), "c": (32, 3), "r": (32, 2)}
    tensors = [numpy_helper.from_array((rng.standard_normal(s) / 2).astype(np.float32), k) for k, s in shapes.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "body"),
        helper.make_node("Relu", ["h"], ["a"], "relu"),
        helper.make_node("MatMul", ["a", "c"], ["scores"], "scores"),
        helper.make_node("MatMul", ["a", "r"], ["box"], "box"),
    ]
    ports = [
        helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", n]) for k, n in (("x", 6), ("scores", 3), ("box", 2))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_outputs_without_targets_are_kept_and_told_of(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((600, 6)).astype(np.float32)
    dense = two_headed()
    before = run(session(dense), {"x": x})
    y = before["scores"].argmax(1)
    np.savez(tmp_path / "data.npz", x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    plan = Plan.model_validate(
        {
            "budget": {"pruning_rate": 2},
            "admm": {"rounds": 3, "epochs_per_round": 2, "learning_rate": 5e-3},
            "retrain": {"epochs": 15, "learning_rate": 5e-3},
        }
    )
    delivery = prune(Order(dense, tmp_path / "data.npz", plan), Recorder())
    after = run(session(delivery.files["pruned.onnx"]), {"x": x[400:]})["box"]
    box = before["box"][400:]
    r2 = 1 - ((after - box) ** 2).sum() / ((box - box.mean(0)) ** 2).sum()
    assert r2 > 0.5
    assert any(f"output 'box' was kept near the dense model's: R2 {r2:.4f}" in n for n in delivery.report.notes)
