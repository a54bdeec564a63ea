"""Whatever is fastest here: it computes what the plain net does, within about the time there is."""

import time

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from pruning.errors import OutOfMemory, RejectedModel
from pruning.onnx import fastest as module
from pruning.onnx import race
from pruning.onnx.columns import Draft
from pruning.onnx.convert import stored_tensors
from pruning.onnx.fastest import PLAIN, fastest
from pruning.onnx.forms import FORMS
from pruning.onnx.race import Race, agrees, rounds, speedups
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from tests.unit.pruning.onnx.columned import kept, without_columns
from tests.unit.pruning.onnx.test_shrink import TOLERANCE, difference, fed, files
from tests.unit.pruning.onnx.test_weights import made, node, port, tensor

SECONDS = 0.5
RESNET = [p for p in files() if "resnet20" in p.stem]


def net(share: float = 0.9, batch: str | int = "N", seed: int = 0) -> ModelProto:
    """Three convolutions of 64 filters and a dense layer."""
    nodes, stored, x = [], [], "x"
    for i, inputs in enumerate((3, 64, 64)):
        nodes += [node("Conv", [x, f"w{i}"], [f"c{i}"], pads=[1] * 4), node("Relu", [f"c{i}"], [f"r{i}"])]
        stored.append(tensor(f"w{i}", 64, inputs, 3, 3))
        x = f"r{i}"
    nodes += [node("GlobalAveragePool", [x], ["p"]), node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "g"], ["y"])]
    model = made(nodes, [*stored, tensor("g", 64, 4)], [port("x", batch, 3, 24, 24)], [port("y", batch, 4)])
    return without_columns(model, share, seed)


def image(model: ModelProto) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((1, 3, 24, 24)).astype(np.float32)}


@pytest.mark.parametrize("batch", ["N", 1])
def test_it_computes_what_the_plain_net_does(batch):
    model = net(batch=batch)
    before = model.SerializeToString()
    found = fastest([model], image(model), SECONDS)
    assert model.SerializeToString() == before
    onnx.checker.check_model(found.model, full_check=True)
    vet(found.model.SerializeToString())
    assert difference(model, found.model) <= TOLERANCE
    assert {k: kept(found.model)[k] for k in kept(model)} == kept(model)
    assert 0 < found.after_ms <= found.before_ms
    assert {c.layer for c in found.choices} <= set(kept(model))
    assert {c.form for c in found.choices} <= {PLAIN, *FORMS}


@pytest.mark.parametrize("path", RESNET, ids=lambda p: p.stem)
def test_shortcuts_stay(path):
    model = without_columns(unshare(onnx.load(path)), 0.9)
    found = fastest([model], {k: v[:1] for k, v in fed(model).items()}, SECONDS)
    assert difference(model, found.model) <= TOLERANCE


def test_without_dead_columns_the_plain_net_stays():
    model = net(share=0)
    found = fastest([model], image(model), SECONDS)
    assert found.choices == () and found.before_ms == found.after_ms
    assert found.model.SerializeToString() == model.SerializeToString()


def test_a_variant_that_computes_something_else_is_never_taken():
    model, wrong = net(), ModelProto()
    wrong.CopyFrom(model)
    for name, stored in stored_tensors(wrong).items():
        if name != "g":
            values = numpy_helper.to_array(stored)[:8, :8]
            stored.CopyFrom(numpy_helper.from_array(values.copy(), name))
    values = numpy_helper.to_array(stored_tensors(wrong)["g"])[:8].copy()
    stored_tensors(wrong)["g"].CopyFrom(numpy_helper.from_array(values, "g"))  # a fraction of the work
    found = fastest([model, wrong], image(model), SECONDS)
    assert difference(model, found.model) <= TOLERANCE


def test_a_form_that_computes_something_else_is_never_taken(monkeypatch):
    def without(layer):
        rewrite = FORMS["gathered"](layer)
        return rewrite and type(rewrite)(rewrite.nodes, 0 * rewrite.W, rewrite.tensors)

    monkeypatch.setattr(module, "FORMS", {"gathered": without})
    model = net()
    found = fastest([model], image(model), SECONDS)
    assert found.model.SerializeToString() == model.SerializeToString()
    assert found.choices and all(c.form == PLAIN and c.chosen_ms == c.dense_ms for c in found.choices)


def test_a_form_that_does_not_load_is_left_out(monkeypatch):
    def broken(layer):
        rewrite = FORMS["gathered"](layer)
        return rewrite and type(rewrite)([node("NoSuchOperator", ["x"], ["c1"])], rewrite.W)

    monkeypatch.setattr(module, "FORMS", {"broken": broken})
    model = net()
    assert fastest([model], image(model), SECONDS).choices == ()


def astray(layer):
    draft = Draft(layer)
    return draft.ended(draft.gather(layer.node.input[0], np.arange(999, 1000), 0), layer.W)


def test_a_form_that_does_not_run_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "FORMS", {"astray": astray})
    model = net()
    assert fastest([model], image(model), SECONDS).model == model


def test_a_form_that_does_not_run_leaves_the_others(monkeypatch):
    monkeypatch.setattr(module, "FORMS", {"astray": astray, "gathered": FORMS["gathered"]})
    model = net()
    assert "gathered" in {c.form for c in fastest([model], image(model), SECONDS).choices} <= {"gathered", PLAIN}


def test_a_layer_that_only_a_variant_can_rewrite_is_timed_too():
    """The plain net has none of the columns that are zero."""
    plain, padded = net(share=0), net(share=0)
    W = np.zeros((64, 128, 3, 3), np.float32)
    W[:, :64] = numpy_helper.to_array(stored_tensors(plain)["w1"])
    stored_tensors(padded)["w1"].CopyFrom(numpy_helper.from_array(W, "w1"))
    first = np.zeros((128, 3, 3, 3), np.float32)
    first[:64] = numpy_helper.to_array(stored_tensors(plain)["w0"])
    stored_tensors(padded)["w0"].CopyFrom(numpy_helper.from_array(first, "w0"))
    trials = module.Trials(module._read(plain, image(plain)), np.ones(1, np.float32), race.Clock(60))
    assert trials.winners(plain, 0.1) == []
    assert [w.layer for w in trials.winners(padded, 0.1)] == ["w1"]


def test_nothing_is_tried_when_patience_is_over():
    model = net()
    assert fastest([model, net(seed=1)], image(model), 0.0).model == model


def test_a_rival_that_memory_does_not_suffice_for_does_not_win(monkeypatch):
    model = net()
    contest = Race(model, image(model))

    def full(*_, **__):
        raise OutOfMemory

    monkeypatch.setattr(race, "session", full)
    assert not contest.challenge(model, SECONDS)


def test_the_time_is_kept():
    model = net()
    start = time.perf_counter()
    fastest([model, model, model], image(model), 0.0)
    at_once = time.perf_counter() - start
    start = time.perf_counter()
    fastest([model], image(model), 2 * SECONDS)
    assert at_once < 5 and time.perf_counter() - start < 2 * SECONDS + 5


def test_something_faster_is_found_however_little_time_there_is():
    model = net()
    found = fastest([model], image(model), 0.2)
    assert found.after_ms < found.before_ms and any(c.form != PLAIN for c in found.choices)


def test_a_layer_that_is_in_several_variants_is_timed_once(monkeypatch):
    model, other = net(), net()
    stored_tensors(other)["w1"].CopyFrom(tensor("w1", 48, 64, 3, 3))
    stored_tensors(other)["w2"].CopyFrom(tensor("w2", 64, 48, 3, 3))
    other, timed = without_columns(other, 0.9, seed=1), []
    stored_tensors(other)["w0"].CopyFrom(stored_tensors(model)["w0"])
    stored_tensors(other)["g"].CopyFrom(stored_tensors(model)["g"])
    alone = module._alone
    monkeypatch.setattr(module, "_alone", lambda *a: timed.append((a[0].weight, a[1].shape)) or alone(*a))
    fastest([model, other], image(model), SECONDS)
    once = {name: [shape for found, shape in timed if found == name] for name in ("w0", "w1", "w2", "g")}
    assert once["w1"] == [(1, 64, 24, 24)] * 2 and once["w2"] == [(1, 64, 24, 24), (1, 48, 24, 24)]
    assert max(len(once["w0"]), len(once["g"])) <= 1


def test_a_variant_that_wins_brings_its_own_layers():
    """The first has a convolution more, which changes nothing."""
    model = net()
    heavy = ModelProto()
    heavy.CopyFrom(model)
    one = np.zeros((64, 64, 5, 5), np.float32)
    one[np.arange(64), np.arange(64), 2, 2] = 1
    heavy.graph.initializer.append(numpy_helper.from_array(np.where(one, one, 1e-30), "one"))
    heavy.graph.node.insert(2, node("Conv", ["r0", "one"], ["r0b"], pads=[2] * 4))
    heavy.graph.node[3].input[0] = "r0b"
    found = fastest([heavy, model], image(model), 4 * SECONDS)
    assert "one" not in kept(found.model) and found.after_ms < found.before_ms
    assert difference(heavy, found.model) <= TOLERANCE


def test_what_does_not_run_is_refused():
    model = net()
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(RejectedModel):
        fastest([model], image(model), SECONDS)


def test_equal_is_relative_to_the_largest():
    y = [np.array([1000.0, 0.0, np.inf, np.nan]), np.array([3])]
    assert agrees([y[0] + 0.009, y[1]], y, 1e-5) and not agrees([y[0] + 0.011, y[1]], y, 1e-5)
    assert not agrees([y[0], np.array([4])], y, 1e-5) and not agrees([y[0][:2], y[1]], y, 1e-5)
    assert not agrees([np.array([1000.0, 0.0, 1.0, np.nan]), y[1]], y, 1e-5)


def test_speedups_are_medians_of_rounds():
    taken = np.array([[2.0, 1.0], [20.0, 10.0], [2.0, 4.0]])
    assert speedups(taken).tolist() == [1.0, 2.0]
    calls = []
    assert rounds([lambda: calls.append(0), lambda: calls.append(1)], 0.0, least=3).shape == (3, 2)
    assert calls == [0, 1] * 4
    calls.clear()
    rounds([lambda: calls.append(0)], 0.0, least=2, between=lambda: calls.append(2))
    assert calls == [0, 2, 0, 2, 0]


def test_a_slower_rival_does_not_win():
    heavy, light = ModelProto(), net(share=0)
    heavy.CopyFrom(light)
    values = numpy_helper.to_array(stored_tensors(light)["w2"])
    stored_tensors(heavy)["w2"].CopyFrom(
        numpy_helper.from_array(np.pad(values, [(0, 0), (0, 0), (3, 3), (3, 3)]), "w2")
    )
    last = next(n for n in heavy.graph.node if "w2" in n.input)
    last.attribute[0].ints[:] = [4] * 4
    race = Race(light, image(light))
    assert agrees(race.expected, Race(heavy, image(heavy)).expected, TOLERANCE)
    assert not race.challenge(heavy, 0.1) and race.best is race.plain
    before, after = race.result(0.1)
    assert before == after
