"""A whole job in this process: resumed equals uninterrupted, the report is counted again by other means."""

import gzip
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load

import pruning.smaller
from pruning.errors import Cancelled, DatasetMismatch, Diverged, InvalidPlan, WrongDelivery
from pruning.onnx.convert import stored_tensors
from pruning.onnx.shrink import shrink
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from pruning.settings import Deliver
from tests.conftest import DATA, EXAMPLES, save_npz
from worker import checkpoints

SMALL = {
    "budget": {"pruning_rate": 4},
    "admm": {"rounds": 3, "epochs_per_round": 1, "learning_rate": 5e-3, "rho": 0.05, "rho_growth": 1.5},
    "retrain": {"epochs": 4, "learning_rate": 5e-3},
    "deliver": {"seconds": 0.2, "rewrite": False},  # which form is fastest may differ from run to run
}
DELIVERY = ["remove", "pack", "verify", "measure", "report"]


class Recorder:
    """Keeps all that a job says; stops it at a training step if asked to."""

    def __init__(self, stop_at=None):
        self.phases, self.metrics, self.checkpoints, self.shares, self.warnings = [], [], [], [], []
        self.steps, self.stop_at = 0, stop_at

    def phase(self, name, progress):
        self.phases.append(name)
        self.shares.append(progress)

    def progress(self, progress):
        self.steps += 1
        self.shares.append(progress)

    def metric(self, metric):
        self.metrics.append(metric)

    def warning(self, text):
        self.warnings.append(text)

    def checkpoint(self, make):
        self.checkpoints.append(make())

    def should_stop(self):
        return self.steps == self.stop_at


def order(model, data, **changes):
    return Order(
        model, data, Plan.model_validate(SMALL | changes | {"deliver": SMALL["deliver"] | changes.get("deliver", {})})
    )


@pytest.fixture(scope="module")
def digits():
    listener = Recorder()
    settings = {"admm": {"rounds": 4}, "retrain": {"epochs": 3}, "deliver": {"remove": False, "seconds": 0.2}}
    plan = Plan.model_validate({"budget": {"pruning_rate": 10}, **settings})
    content = (EXAMPLES / "digits.onnx").read_bytes()
    return content, listener, prune(Order(content, EXAMPLES / "digits.npz", plan), listener)


def test_the_report_counts_what_is_in_the_file(digits):
    dense, _, delivery = digits
    report, pruned = delivery.report, delivery.files["pruned.onnx"]
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(pruned).graph.initializer}
    weights = {k: v for k, v in tensors.items() if v.ndim > 1}
    kept = {k.removesuffix(".weight"): np.count_nonzero(v) for k, v in weights.items()}
    assert {x.name: x.kept for x in report.layers} == kept
    assert report.compression.weights_total == sum(v.size for v in weights.values())
    assert report.compression.weights_kept == sum(kept.values()) == report.compression.weights_total // 10
    assert report.compression.bytes.pruned == len(pruned) == len(dense)
    assert report.compression.bytes.pruned_gzip == len(gzip.compress(pruned, 9, mtime=0)) < len(dense) / 3
    assert report.compression.bytes.dense_gzip == len(gzip.compress(dense, 9, mtime=0))
    assert report.goal_met and len(report.headline) < 250
    assert json.loads(delivery.files["report.json"]) == report.model_dump(mode="json")


def test_the_report_says_what_was_measured_and_who_gains(digits):
    _, _, delivery = digits
    report = delivery.report
    assert {row.batch for row in report.latencies} == {1, 32} and report.latencies[0] == report.latency
    assert report.loading is not None and report.loading.dense_ms > 0
    assert f"{report.latency.speedup:.2f}" in report.runtimes[0]
    assert any("90 % of the weights in the file are zero, anywhere" in text for text in report.runtimes)


def test_the_accuracy_is_that_of_the_delivered_file(digits):
    dense, _, delivery = digits
    data = np.load(EXAMPLES / "digits.npz")
    for content, said in (
        (dense, delivery.report.accuracy.dense),
        (delivery.files["pruned.onnx"], delivery.report.accuracy.pruned),
    ):
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        output = session.run(None, {"image": data["x_test"].astype(np.float32)})[0]
        assert said == pytest.approx((np.asarray(output).argmax(1) == data["y_test"]).mean())
    assert delivery.report.accuracy.pruned > 0.95
    assert delivery.report.accuracy.examples == 360


def test_the_multiply_adds_are_those_of_the_layers(digits):
    _, _, delivery = digits
    said = {x.name: x for x in delivery.report.layers}
    positions = {"conv1": 64, "conv2": 64, "fc1": 1, "fc2": 1}
    assert delivery.report.compression.multiply_adds.dense == sum(said[k].weights * n for k, n in positions.items())
    assert delivery.report.compression.multiply_adds.pruned == sum(said[k].kept * n for k, n in positions.items())


def test_the_masks_are_those_of_the_file(digits):
    _, _, delivery = digits
    masks = load(delivery.files["masks.safetensors"])
    assert {k: int(m.sum()) for k, m in masks.items()} == {x.name: x.kept for x in delivery.report.layers}


def test_only_weights_change(digits):
    dense, _, delivery = digits
    before, after = onnx.load_from_string(dense), onnx.load_from_string(delivery.files["pruned.onnx"])
    for model in (before, after):
        for tensor in model.graph.initializer:
            tensor.raw_data = b""
    assert before.SerializeToString() == after.SerializeToString()


def test_the_listener_hears_the_whole_story(digits):
    _, listener, _ = digits
    assert listener.phases == ["import", "baseline", "admm", "prune", "retrain", *DELIVERY]
    assert listener.shares == sorted(listener.shares)
    assert [m.step for m in listener.metrics] == list(range(8))
    assert {"loss", "accuracy", "accuracy_pruned", "primal", "dual", "rho"} <= set(listener.metrics[1].values)


def test_the_history_is_what_the_listener_heard(digits):
    _, listener, delivery = digits
    history = delivery.report.history
    assert [(r.step, r.phase, r.round) for r in history] == [(m.step, m.phase, m.round) for m in listener.metrics[1:]]
    for told, heard in zip(history, listener.metrics[1:], strict=True):
        known = {k: v for k, v in told.model_dump().items() if k in heard.values}
        assert known == {k: heard.values[k] for k in known} and known.keys() == heard.values.keys() - {"relative"}
    assert history[-1].primal is None and history[0].primal is not None


def test_the_report_says_what_each_class_lost(digits):
    dense, _, delivery = digits
    report, data = delivery.report, np.load(EXAMPLES / "digits.npz")
    confusion, changed, a = report.confusion, report.accuracy.changed, report.accuracy
    assert confusion is not None and changed is not None and a.interval is not None and a.unit == "images"
    for content, said in ((dense, confusion.dense), (delivery.files["pruned.onnx"], confusion.pruned)):
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        output = np.asarray(session.run(None, {"image": data["x_test"].astype(np.float32)})[0]).argmax(1)
        assert [list(row) for row in said] == [
            [sum((data["y_test"] == t) & (output == p)) for p in range(10)] for t in range(10)
        ]
    assert sum(changed.model_dump().values()) == 360 == sum(c.examples for c in report.classes)
    assert a.drop == pytest.approx((changed.only_dense - changed.only_pruned) / 360)
    assert a.interval.drop[0] < a.drop < a.interval.drop[1] and a.interval.dense[0] < a.dense < a.interval.dense[1]
    assert report.next and report.manifest.command.startswith("python -m pruning model.onnx data.npz --plan")


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
def test_resumed_equals_uninterrupted(tiny, tiny_data, place):
    whole = Recorder()
    expected = prune(order(tiny, tiny_data), whole)
    resumed = Recorder()
    got = prune(order(tiny, tiny_data), resumed, checkpoints.load(checkpoints.dump(whole.checkpoints[place])))
    assert got.files["pruned.onnx"] == expected.files["pruned.onnx"]
    assert got.files["masks.safetensors"] == expected.files["masks.safetensors"]
    assert got.report.convergence == expected.report.convergence
    assert got.report.history == expected.report.history
    assert resumed.steps < whole.steps


@pytest.mark.parametrize("place", [0, 4])
def test_resumed_equals_uninterrupted_with_batch_norm_put_back(place):
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    whole = Recorder()
    given = order(content, data, train={"insert_batch_norm": True, "batch_size": 128})
    expected = prune(given, whole)
    resumed = checkpoints.load(checkpoints.dump(whole.checkpoints[place]))
    assert prune(given, Recorder(), resumed).files["pruned.onnx"] == expected.files["pruned.onnx"]
    assert any("_bn" in name for name in resumed.tensors)
    nodes = [
        [n.SerializeToString() for n in onnx.load_from_string(c).graph.node]
        for c in (content, expected.files["pruned.onnx"])
    ]
    assert nodes[0] == nodes[1] and expected.report.checks.agrees_max_abs < 1e-3


def test_filters_that_died_behind_a_batch_norm_give_exactly_nothing():
    """Put back, trained and folded: where all weights of a filter are gone its bias is gone too."""
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    rules = [{"match": "conv2", "sparsity": 0.998}]
    train, keep = {"insert_batch_norm": True, "batch_size": 128}, {"remove": False}
    given = order(content, data, layers=rules, train=train, deliver=keep)
    pruned = onnx.load_from_string(prune(given, Recorder()).files["pruned.onnx"])
    tensors = {t.name: numpy_helper.to_array(t) for t in pruned.graph.initializer}
    dead = ~tensors["conv2.weight"].reshape(len(tensors["conv2.weight"]), -1).any(axis=1)
    assert dead.any() and not tensors["conv2.bias"][dead].any()


def test_admm_ends_when_it_has_converged(tiny, tiny_data):
    """At rate 1 the projection takes nothing away; a resumed run knows that no round is left."""
    easy = order(tiny, tiny_data, budget={"pruning_rate": 1})
    listener = Recorder()
    expected = prune(easy, listener)
    assert expected.report.convergence.rounds == 1
    assert expected.report.convergence.ended.startswith("converged after 1 of 3 rounds")
    assert [m.step for m in listener.metrics] == [0, 1, 2, 3, 4, 5]
    resumed = Recorder()
    got = prune(easy, resumed, listener.checkpoints[0])
    assert got.files["pruned.onnx"] == expected.files["pruned.onnx"]
    assert resumed.phases == ["import", "baseline", "prune", "retrain", *DELIVERY]
    assert resumed.shares == sorted(resumed.shares) and resumed.shares[0] > 0


def test_time_is_counted_over_all_attempts(tiny, tiny_data):
    listener = Recorder()
    prune(order(tiny, tiny_data), listener)
    before = replace(listener.checkpoints[-1], numbers={**listener.checkpoints[-1].numbers, "seconds": 1000.0})
    assert 1000 < prune(order(tiny, tiny_data), Recorder(), before).report.manifest.seconds < 1100


def test_a_fixed_batch_is_measured_as_it_is(tiny, tiny_data):
    model = onnx.load_from_string(tiny)
    for port in (model.graph.input[0], model.graph.output[0]):
        port.type.tensor_type.shape.dim[0].dim_value = 4
    report = prune(order(model.SerializeToString(), tiny_data), Recorder()).report
    assert report.latency.batch == 4 and report.accuracy.examples == 100
    assert report.latencies[0] == report.latency and {row.batch for row in report.latencies} == {4}


def test_a_net_with_three_spatial_axes(tmp_path):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], "conv", pads=[1] * 6),
        helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    weight = numpy_helper.from_array(rng.standard_normal((3, 1, 3, 3, 3)).astype(np.float32), "w")
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", ["N", 1, 4, 4, 4]), ("y", ["N", 3]))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = save_npz(tmp_path / "data.npz", shape=(1, 4, 4, 4))
    report = prune(order(made.SerializeToString(), data), Recorder()).report
    assert report.compression.weights_kept == 20


def test_a_wish_to_stop_is_met_within_a_step(tiny, tiny_data):
    listener = Recorder(stop_at=5)
    with pytest.raises(Cancelled):
        prune(order(tiny, tiny_data), listener)
    assert listener.steps == 5


def test_divergence_ends_the_job_with_a_sentence(tiny, tiny_data):
    with pytest.raises(Diverged, match="lower rho, its growth or the learning rate"):
        steep = {"rounds": 20, "rho": 1000, "learning_rate": 1}
        prune(order(tiny, tiny_data, admm=steep, train={"optimizer": "sgd"}), Recorder())


def test_many_rounds_are_no_divergence(tiny, tiny_data):
    """rho grows to its end and no further: 1.3 to the power of 250 would leave float32."""
    many = {"rounds": 250, "epochs_per_round": 0.1}
    delivery = prune(order(tiny, tiny_data, admm=many), Recorder())
    assert delivery.report.goal_met


def test_layer_rules_reach_the_file(tiny, tiny_data):
    rules = [{"match": "conv1", "exclude": True}, {"match": "fc", "sparsity": 0.75}]
    report = prune(order(tiny, tiny_data, layers=rules, budget={"pruning_rate": 2}), Recorder()).report
    assert {x.name: x.kept for x in report.layers} == {"conv1": 72, "fc": 54}


def test_one_seed_one_file(tiny, tiny_data):
    first, second = (prune(order(tiny, tiny_data), Recorder()).files["pruned.onnx"] for _ in range(2))
    assert first == second
    other = prune(order(tiny, tiny_data, train={"seed": 1}), Recorder()).files["pruned.onnx"]
    assert other != first


def test_dead_filters_have_dead_biases():
    """Where all weights of a neuron are gone its bias is gone too, so that it can be removed."""
    model = onnx.load(EXAMPLES / "digits.onnx")
    short = {"admm": {"rounds": 2}, "retrain": {"epochs": 1}, "deliver": {"remove": False, "seconds": 0.2}}
    plan = Plan.model_validate({"budget": {"pruning_rate": 300}, **short})
    without = plan.model_copy(update={"deliver": Deliver()})
    delivery = prune(Order(model.SerializeToString(), EXAMPLES / "digits.npz", plan), Recorder())
    tensors = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(delivery.files["pruned.onnx"]).graph.initializer
    }
    dead = ~tensors["fc1.weight"].any(axis=1)
    assert dead.any()
    assert not tensors["fc1.bias"][dead].any()
    taken_out = prune(Order(model.SerializeToString(), EXAMPLES / "digits.npz", without), Recorder()).report
    assert {x.name: x.filters_removed for x in taken_out.layers}["fc1"] == dead.sum()
    assert all(x.filters_removed == 0 for x in delivery.report.layers), "they are all in the file"


def test_a_bias_added_later_is_frozen_too(tmp_path):
    """CNTK adds a convolution's bias as (C, 1, 1) in a node of its own."""
    plan = SMALL | {"budget": {"pruning_rate": 20}, "layers": [{"match": "Parameter5", "sparsity": 0.97}]}
    plan |= {"deliver": {"remove": False, "seconds": 0.2}}
    rng = np.random.default_rng(0)
    data = {
        f"{k}_{s}": rng.random((300, 1, 28, 28), dtype=np.float32) if k == "x" else rng.integers(0, 10, 300)
        for s in ("train", "test")
        for k in "xy"
    }
    np.savez(tmp_path / "data.npz", **data)  # type: ignore[arg-type]
    content = (DATA / "models" / "cntk_mnist.onnx").read_bytes()
    delivery = prune(Order(content, tmp_path / "data.npz", Plan.model_validate(plan)), Recorder())
    tensors = stored_tensors(onnx.load_from_string(delivery.files["pruned.onnx"]))
    dead = ~numpy_helper.to_array(tensors["Parameter5"]).reshape(8, -1).any(axis=1)
    assert dead.any() and not numpy_helper.to_array(tensors["Parameter6"]).reshape(8)[dead].any()
    assert any("about as good as chance" in note for note in delivery.report.notes)


def test_data_of_another_shape_is_refused(tiny, tmp_path):
    data = save_npz(tmp_path / "wrong.npz", shape=(1, 5, 5))
    with pytest.raises(DatasetMismatch, match=r"shape \(1, 5, 5\); the model's input image takes \(1, 6, 6\)"):
        prune(order(tiny, data), Recorder())


def test_labels_that_the_model_does_not_have_are_refused(tiny, tmp_path):
    data = save_npz(tmp_path / "wrong.npz", classes=5)
    with pytest.raises(DatasetMismatch, match=r"labels go up to 4, but .* has 3 classes \(labels 0 to 2\)"):
        prune(order(tiny, data), Recorder())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the CUDA device whose absence is tested")
def test_cuda_that_is_not_there_is_refused(tiny, tiny_data):
    with pytest.raises(InvalidPlan, match="no CUDA device"):
        prune(order(tiny, tiny_data, train={"device": "cuda"}), Recorder())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_job_on_cuda(tiny, tiny_data):
    report = prune(order(tiny, tiny_data, train={"device": "cuda"}), Recorder()).report
    assert report.manifest.device == "cuda" and report.goal_met


def hardmax(opset):
    """Over all of an example before opset 13, which ONNX's converter forgets."""
    rng = np.random.default_rng(0)
    shapes = {"c": (4, 1, 3, 3), "f": (144, 3)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), k) for k, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["h"], pads=[1] * 4),
        helper.make_node("Hardmax", ["h"], ["m"], axis=1),
        helper.make_node("Add", ["h", "m"], ["s"]),
        helper.make_node("Flatten", ["s"], ["a"]),
        helper.make_node("MatMul", ["a", "f"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in (("x", ["N", 1, 6, 6]), ("y", ["N", 3]))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
    return made.SerializeToString()


@pytest.mark.parametrize(("opset", "there"), [(9, False), (11, True)])
def test_a_job_is_not_lost_where_packing_goes_wrong(tiny_data, opset, there):
    delivery = prune(order(hardmax(opset), tiny_data, retrain={"epochs": 1}), Recorder())
    assert ("packed.onnx" in delivery.files) == (delivery.report.packed is not None) == there
    assert any(note.startswith("there is no packed.onnx") for note in delivery.report.notes) != there
    assert delivery.report.compression.bytes.pruned == len(delivery.files["pruned.onnx"])


def test_a_file_that_computes_something_else_is_never_delivered(tiny, tiny_data, monkeypatch):
    """Held against the user's own graph with the same weights: a hundredth of a weight too much is seen."""

    def wrong(model, multiple=1):
        result = shrink(model, multiple)
        tensor = next(t for t in result.graph.initializer if len(t.dims) > 1)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
        return result

    monkeypatch.setattr(pruning.smaller, "shrink", wrong)
    with pytest.raises(WrongDelivery, match="nothing was delivered"):
        prune(order(tiny, tiny_data, retrain={"epochs": 1}), Recorder())


def test_a_job_is_not_lost_where_removal_fails(tiny, tiny_data, monkeypatch):
    def broken(model, multiple=1):
        raise IndexError("a graph that nobody thought of")

    monkeypatch.setattr(pruning.smaller, "shrink", broken)
    delivery = prune(order(tiny, tiny_data, retrain={"epochs": 1}), Recorder())
    assert any("taking it out failed" in note and "nobody thought of" in note for note in delivery.report.notes)
    assert [n.op_type for n in onnx.load_from_string(delivery.files["pruned.onnx"]).graph.node] == [
        n.op_type for n in onnx.load_from_string(tiny).graph.node
    ]


def test_a_model_that_was_pruned_before_is_told_when_the_budget_asks_for_less(tiny, tiny_data):
    first = prune(order(tiny, tiny_data, budget={"pruning_rate": 4}, deliver={"remove": False}), Recorder())
    listener = Recorder()
    second = prune(order(first.files["pruned.onnx"], tiny_data, budget={"pruning_rate": 2}), listener)
    assert any("zeros may grow back" in note for note in second.report.notes)
    assert not any("grow back" in note for note in first.report.notes)
