"""What holds for every method, every pattern and every kind of budget: one suite over the tables."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from pruning.errors import Diverged, InvalidPlan
from pruning.methods import METHODS
from pruning.methods.progressive import rates_of
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from pruning.quantize import levels_in
from pruning.settings import Search
from pruning.sparsity import PATTERNS
from pruning.stages.search import Trial, next_rate
from tests.conftest import EXAMPLES
from tests.unit.pruning.test_pipeline import SMALL, Recorder, order
from worker import checkpoints

# The smallest plan of each method in which everything that it does happens.
QUICK = {"deliver": {"seconds": 0.2}}  # of timing
PLANS = {
    "direct": {"importance": "fisher"},
    "progressive": {"progressive": {"rates": [1.5, 2, 3], "pool": 2}, "admm": SMALL["admm"] | {"regrow": False}},
    "joint": {"joint": {"units": 0.6}},
    "gradual": {"gradual": {"epochs": 3, "units": 0.6, "unit_epochs": 2}, "importance": "fisher"},
}
FOUR = {"budget": {"pruning_rate": 4}}
CASES = {
    **{name: {"method": name, **FOUR, **plan} for name, plan in PLANS.items()},
    "search": {"budget": {"max_accuracy_drop": 0.3}, "search": {"first_rate": 2, "highest_rate": 8, "refinements": 1}},
    "quantized": {**FOUR, "quantize": {"bits": 3, "admm": {"rounds": 2}, "retrain": {"epochs": 2}}},
    "averaged": {**FOUR, "retrain": {"epochs": 4, "average": 0.9}, "distill": {"weight": 0.5, "fades": True}},
    "by gradient descent": {**FOUR, "train": {"optimizer": "sgd", "weight_decay": 1e-3, "augment": "crop_flip"}},
    "balanced": {**FOUR, "admm": {**SMALL["admm"], "balance": True, "schedule": "cosine"}},
}


def test_every_method_is_tried():
    assert set(PLANS) == set(METHODS)


@pytest.mark.parametrize("case", CASES)
def test_resumed_from_any_round_equals_uninterrupted(tiny, tiny_data, case):
    whole = Recorder()
    given = order(tiny, tiny_data, **CASES[case])
    expected = prune(given, whole)
    assert len(whole.checkpoints) >= 5
    for place in range(0, len(whole.checkpoints), 2):
        resumed = Recorder()
        got = prune(given, resumed, checkpoints.load(checkpoints.dump(whole.checkpoints[place])))
        assert got.files["pruned.onnx"] == expected.files["pruned.onnx"], place
        assert got.report.convergence == expected.report.convergence
        steps = [m.step for m in resumed.metrics]
        assert steps == list(range(whole.metrics[-1].step + 1))[len(whole.metrics) - len(steps) :]
        assert resumed.shares == sorted(resumed.shares)


@pytest.mark.parametrize("case", CASES)
def test_every_round_is_told_with_what_applies(tiny, tiny_data, case):
    listener = Recorder()
    prune(order(tiny, tiny_data, **CASES[case]), listener)
    assert [m.step for m in listener.metrics] == list(range(len(listener.metrics)))
    assert listener.shares == sorted(listener.shares)
    for metric in listener.metrics[1:]:
        assert {"loss", "accuracy", "accuracy_pruned"} <= set(metric.values)
        if metric.phase in ("admm", "quantize"):
            assert {"primal", "dual", "relative", "rho"} <= set(metric.values)


@pytest.mark.parametrize("method", PLANS)
def test_the_file_keeps_the_budget_and_what_was_learned(method):
    """On real data: 10 times smaller, no more than 3 points lost, every number counted again in the file."""
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    settings = {"joint": {"units": 0.5}, "gradual": {"units": 0.5, "epochs": 4, "unit_epochs": 3}}
    more = {"progressive": {"rates": [4]}, **settings, "admm": {"rounds": 6}, "retrain": {"epochs": 4}}
    deliver = {"seconds": 0.2, "rewrite": False}  # the fastest form may keep channels for multiples of 8
    plan = Plan.model_validate({"method": method, "budget": {"pruning_rate": 10}, **more, "deliver": deliver})
    delivery = prune(Order(content, data, plan), Recorder())
    report = delivery.report
    stored = onnx.load_from_string(delivery.files["pruned.onnx"]).graph.initializer
    tensors = [numpy_helper.to_array(t) for t in stored]
    weights = {t.name for t in onnx.load_from_string(content).graph.initializer if len(t.dims) > 1}
    kept = sum(int(np.count_nonzero(numpy_helper.to_array(t))) for t in stored if t.name in weights)
    assert kept == report.compression.weights_kept <= 7632 and report.goal_met
    assert report.accuracy.drop < 0.03
    assert not any(np.signbit(t[t == 0]).any() for t in tensors if t.dtype == np.float32), "they compress worse"
    x = np.load(data)
    session = ort.InferenceSession(delivery.files["pruned.onnx"], providers=["CPUExecutionProvider"])
    output = np.asarray(session.run(None, {"image": x["x_test"].astype(np.float32)})[0])
    assert (output.argmax(1) == x["y_test"]).mean() == pytest.approx(report.accuracy.pruned)
    if method in ("joint", "gradual"):
        units = sum(len(t) for t in tensors if t.ndim == 1) - 10
        assert units <= 0.5 * (32 + 64 + 128), "neurons are gone from the file"
        assert len(delivery.files["pruned.onnx"]) < 0.5 * len(content)


@pytest.mark.parametrize("kind", PATTERNS)
def test_every_pattern_reaches_the_file(kind):
    """Groups of the pattern are whole or gone, in the delivered file of a real job."""
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    more = {
        "pattern": {"kind": kind},
        "admm": {"rounds": 2},
        "retrain": {"epochs": 1},
        "deliver": {"remove": False, "seconds": 0.2},
    }
    plan = Plan.model_validate({"budget": {"multiply_adds_share": 0.6}, **more})
    delivery = prune(Order(content, data, plan), Recorder())
    model = onnx.load_from_string(delivery.files["pruned.onnx"])
    W = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}["conv2.weight"]
    groups = {
        "unstructured": lambda W: W.reshape(-1, 1),
        "filter": lambda W: W.reshape(len(W), -1),
        "channel": lambda W: W.swapaxes(0, 1).reshape(W.shape[1], -1),
        "column": lambda W: W.reshape(len(W), -1).T,
        "kernel": lambda W: W.reshape(-1, 9),
        "block": lambda W: W.reshape(len(W) // 4, 4, -1, 4).swapaxes(1, 2).reshape(-1, 16),
        "n_m": lambda W: W.transpose(0, 2, 3, 1).reshape(-1, 4),
    }[kind]
    # filters that nothing reads any more are idle, and gone besides
    alive = np.ones(W.shape, dtype=bool)
    if kind != "filter":
        alive &= np.abs(W).max(axis=(1, 2, 3), keepdims=True) > 0
    zeros, places = (groups(mask).sum(1) for mask in ((W == 0) & alive, alive))
    assert delivery.report.goal_met and zeros.any()
    if kind == "n_m":
        assert (groups(W == 0).sum(1) >= 2).all()
    else:
        assert ((zeros == 0) | (zeros == places)).all()


def test_n_of_m_holds_in_the_delivered_file():
    """Also where neurons have died: taken out of the graph, they would shift the groups of the next layer."""
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    more = {"pattern": {"kind": "n_m"}, "admm": {"rounds": 4}, "retrain": {"epochs": 1}}
    plan = Plan.model_validate({"budget": {"pruning_rate": 1.9}, **more, **QUICK})
    model = onnx.load_from_string(prune(Order(content, data, plan), Recorder()).files["pruned.onnx"])
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name in ("conv2.weight", "fc1.weight", "fc2.weight"):
        W = np.moveaxis(tensors[name], 1, -1)
        assert ((W.reshape(-1, 4) != 0).sum(1) <= 2).all(), name


def test_layers_may_differ():
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    rules = [
        {"match": "conv1", "exclude": True},
        {"match": "conv2", "pattern": {"kind": "kernel"}, "sparsity": 0.5},
        {"match": "fc1", "pattern": {"kind": "n_m", "n": 1, "m": 4}, "rho": 0.01},
    ]
    short = {"admm": {"rounds": 2}, "retrain": {"epochs": 1}, "deliver": {"remove": False, "seconds": 0.2}}
    plan = Plan.model_validate({"budget": {"pruning_rate": 2.5}, "layers": rules, **short})
    delivery = prune(Order(content, data, plan), Recorder())
    kept = {x.name: x.kept / x.weights for x in delivery.report.layers}
    assert kept["conv1"] == 1 and kept["conv2"] == pytest.approx(0.5, abs=0.02) and kept["fc1"] <= 0.25
    assert delivery.report.goal_met


@pytest.mark.parametrize("budget", [{"multiply_adds_share": 0.4}, {"bytes": 40_000}, {"sparsity": 0.9}])
def test_every_budget_is_met_by_what_is_counted_in_the_file(budget):
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    plan = Plan.model_validate({"budget": budget, "admm": {"rounds": 2}, "retrain": {"epochs": 1}, **QUICK})
    report = prune(Order(content, data, plan), Recorder()).report
    assert report.goal_met
    spent = {
        "multiply_adds_share": report.compression.multiply_adds.pruned / report.compression.multiply_adds.dense / 0.4,
        "bytes": (report.compression.bytes.packed or 0) / 40_000,
        "sparsity": (1 - report.compression.sparsity) / 0.1,
    }[next(iter(budget))]
    assert 0.9 < spent <= 1, "nothing is thrown away that the budget leaves"


def test_bytes_that_no_rate_reaches_are_refused(tiny, tiny_data):
    with pytest.raises(InvalidPlan, match="the highest rate that the plan allows") as caught:
        prune(order(tiny, tiny_data, budget={"bytes": 100}), Recorder())
    assert caught.value.pointer == "/budget/bytes"


@pytest.mark.parametrize("method", ["direct", "gradual"])
def test_a_size_is_kept_though_training_moves_zeros_between_layers(method):
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    more = {"method": method, "admm": {"rounds": 4}, "gradual": {"epochs": 3}, "retrain": {"epochs": 2}, **QUICK}
    report = prune(Order(content, data, Plan.model_validate({"budget": {"bytes": 4000}, **more})), Recorder()).report
    assert report.goal_met and 3500 < (report.compression.bytes.packed or 0) <= 4000


def test_quantized_values_are_on_levels_in_the_file():
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    quantize = {"bits": 3, "layers": [{"match": "fc*", "bits": 2}], "admm": {"rounds": 4}}
    more = {"quantize": quantize, "admm": {"rounds": 4}, "retrain": {"epochs": 3}}
    plan = Plan.model_validate({"budget": {"pruning_rate": 8}, **more, **QUICK})
    delivery = prune(Order(content, data, plan), Recorder())
    model = onnx.load_from_string(delivery.files["pruned.onnx"])
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) > 1}
    for layer in delivery.report.layers:
        values = tensors[f"{layer.name}.weight"]
        assert len(np.unique(np.abs(values[values != 0]))) <= 2 ** (layer.bits - 1)
        assert layer.bits <= (2 if layer.name.startswith("fc") else 3) and layer.bits == levels_in(values)
    counted = sum(layer.kept * layer.bits for layer in delivery.report.layers)
    assert delivery.report.compression.value_bits == counted
    assert delivery.report.accuracy.drop < 0.05


def test_batch_norm_is_folded_before_quantization(tiny, tiny_data):
    delivery = prune(order(tiny, tiny_data, **CASES["quantized"]), Recorder())
    nodes = [node.op_type for node in onnx.load_from_string(delivery.files["pruned.onnx"]).graph.node]
    assert "BatchNormalization" not in nodes and delivery.report.checks.agrees_max_abs < 1e-4


def test_a_divergence_is_met_once_by_a_lower_rate_then_told(tiny, tiny_data):
    """At this learning rate the first round is lost; at a tenth of it all goes well."""
    admm = SMALL["admm"] | {"learning_rate": 0.9, "rho": 300.0, "rho_growth": 1.0}
    listener = Recorder()
    with pytest.raises(Diverged):
        prune(order(tiny, tiny_data, admm=admm, train={"optimizer": "sgd"}), listener)
    assert sum("a tenth of the learning rate" in text for text in listener.warnings) == 1


def test_the_pool_of_partial_models_is_that_of_the_paper(tiny, tiny_data):
    """Three from the dense net; the fourth from the best of them, whose zeros it keeps (masked ADMM)."""
    listener = Recorder()
    plan = {
        "method": "progressive",
        "budget": {"pruning_rate": 6},
        "progressive": {"rates": [1.5, 2, 3], "pool": 3},
        "admm": SMALL["admm"] | {"regrow": False},
    }
    prune(order(tiny, tiny_data, **plan), listener)
    assert [m.values["pruning_rate"] for m in listener.metrics if m.phase == "retrain" and m.round == 1] == [
        1.5,
        2,
        3,
        6,
    ]
    last = listener.checkpoints[-1]
    scores = [last.numbers[f"pool.{i}"] for i in range(3)]
    best = int(np.argmax(scores))
    start = last.tensors[f"pool.{best}/Gemm_3.weight"] != 0
    end = last.tensors["network/Gemm_3.weight"] != 0
    assert not (end & ~start).any() and end.sum() < start.sum()


def test_rates_rise_to_the_goal():
    plan = Plan.model_validate({"method": "progressive", "budget": {"pruning_rate": 100}})
    assert rates_of(plan) == (20, 40, 80, 100)
    assert rates_of(Plan.model_validate({"method": "progressive", "budget": {"pruning_rate": 2}})) == (1.6, 2)
    half = Plan.model_validate({"method": "progressive", "budget": {"multiply_adds_share": 0.1}})
    assert rates_of(half) == pytest.approx((2, 4, 8, 10))


def test_the_search_rises_then_closes_in():
    settings, seen = Search(first_rate=4, factor=2, refinements=3, highest_rate=1000), []

    def score(rate: float) -> float:
        return 1 - rate / 1000  # at least 0.95 up to a rate of 50

    while (rate := next_rate(settings, seen, 0.95)) is not None:
        seen.append(Trial(rate, score(rate), rate))
    rates = [trial.rate for trial in seen]
    assert rates[:5] == [4, 8, 16, 32, 64] and len(rates) == 8
    assert 45 < max(t.rate for t in seen if t.score >= 0.95) <= 50
    assert next_rate(settings, [Trial(3, 0.99, 4)], 0.95) is None, "what could not be reached is not asked for again"
    assert next_rate(replace_search(settings, highest_rate=16), seen[:3], 0.95) is None
    assert next_rate(settings, [Trial(4, 0.1, 4)], 0.95) == 2, "between the dense net and the first trial"


def replace_search(settings: Search, **changes: float) -> Search:
    return settings.model_copy(update=changes)


def test_a_search_ends_at_the_best_trial_and_reports_its_curve(tiny, tiny_data):
    listener = Recorder()
    delivery = prune(order(tiny, tiny_data, **CASES["search"]), listener)
    curve = delivery.report.search
    asked = sorted({m.values["pruning_rate"] for m in listener.metrics if "pruning_rate" in m.values})
    assert sorted(point.pruning_rate for point in curve) == pytest.approx(asked, rel=0.1)
    assert any("the search asked for" in note for note in delivery.report.notes)
    best = max((p.pruning_rate for p in curve if p.met), default=1)
    assert delivery.report.compression.pruning_rate == pytest.approx(best, rel=0.1)


def test_checkpoints_of_another_shape_are_not_guessed_at(tiny, tiny_data):
    """A stage that is not there is an error, not a silent start."""
    whole = Recorder()
    prune(order(tiny, tiny_data, **CASES["progressive"]), whole)
    broken = replace(whole.checkpoints[-1], tensors={})
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        prune(order(tiny, tiny_data, **CASES["progressive"]), Recorder(), broken)


@pytest.mark.parametrize("method", ["direct", "gradual"])
def test_a_net_is_not_cut_in_two(method):
    """Where a rate leaves no path from input to output, the nearest that does is taken, and told."""
    content, data = (EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz"
    more = {"admm": {"rounds": 2}, "retrain": {"epochs": 1}, "gradual": {"epochs": 3}}
    plan = Plan.model_validate({"method": method, "budget": {"pruning_rate": 2000}, **more, **QUICK})
    listener = Recorder()
    report = prune(Order(content, data, plan), listener).report
    told = any("no path from input to output" in text for text in listener.warnings)
    assert all(layer.kept for layer in report.layers) and report.goal_met != told
    assert told or method == "gradual", "which takes what is idle as it goes, and finds a path here"


def test_a_search_stays_where_the_plan_leaves_room(tiny, tiny_data):
    """One layer is held dense: rates beyond what the others can give are not tried."""
    plan = {"budget": {"max_accuracy_drop": 0.9}, "search": {"first_rate": 1.2, "refinements": 0}}
    excluded = [{"match": "conv1", "exclude": True}]
    curve = prune(order(tiny, tiny_data, **plan, layers=excluded), Recorder()).report.search
    assert 1 < max(point.pruning_rate for point in curve) <= 288 / 73
    with pytest.raises(InvalidPlan):
        prune(order(tiny, tiny_data, **plan, layers=[{"match": "*", "exclude": True}]), Recorder())


@pytest.mark.parametrize("rates", [[50, 2], [2, 2], [2, 5]])
def test_rates_of_partial_models_rise_to_the_goal(rates):
    with pytest.raises(ValueError, match="rates"):
        Plan.model_validate({"method": "progressive", "budget": {"pruning_rate": 4}, "progressive": {"rates": rates}})


def test_another_model_teaches_where_it_fits(tiny, tiny_data):
    teach = {"distill": {"weight": 1.0, "teacher": "wide"}}
    with pytest.raises(InvalidPlan, match="--teacher"):
        prune(order(tiny, tiny_data, **teach), Recorder())
    other = replace(order(tiny, tiny_data, **teach), teacher=(EXAMPLES / "digits.onnx").read_bytes())
    with pytest.raises(InvalidPlan, match="same names and shapes"):
        prune(other, Recorder())
    model = onnx.load_from_string(tiny)
    for tensor in model.graph.initializer:
        if tensor.name == "fc.weight":  # what it says of classes 0 and 1 is the other way round
            values = numpy_helper.to_array(tensor)[[1, 0, 2]]
            tensor.CopyFrom(numpy_helper.from_array(values, "fc.weight"))
    plain, taught = (
        prune(replace(order(tiny, tiny_data, **plan), teacher=teacher), Recorder()).report.accuracy.pruned
        for plan, teacher in (({}, None), (teach, model.SerializeToString()))
    )
    assert taught != plain
