"""Two processes, gloo on the CPU: the same job as with one, at the same batch."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import onnx
import pytest
import torch
from torch._C._distributed_c10d import FileStore

from pruning import launch
from pruning.account import Trained
from pruning.listener import Silent
from pruning.onnx.fold import fold_batch_norms
from pruning.order import Order
from pruning.pipeline import train_network
from pruning.plan import Plan
from pruning.processes import ALONE, Group
from pruning.stages.problem import Checkpoint
from tests.unit.pruning import along
from tests.unit.pruning.test_methods import CASES
from tests.unit.pruning.test_pipeline import SMALL, Recorder, order

# float32 sums in another order differ by 1e-7 of a value; what trains on from there was seen to differ by 1e-6
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
ODD = {"batch_size": 15}  # parts of 7 and 8
SHORT = {"admm": {**SMALL["admm"], "rounds": 2}, "retrain": {**SMALL["retrain"], "epochs": 2}}
ALIKE = {
    "direct": {**CASES["direct"], **SHORT, "train": ODD | {"augment": "crop_flip"}},
    "progressive": {**CASES["progressive"], **SHORT, "progressive": {"rates": [2], "pool": 2}, "importance": "fisher"},
    "quantized": {**CASES["quantized"], **SHORT, "train": ODD},
    "taught": {**CASES["averaged"], "train": ODD | {"loss": "distill"}},
}


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> Iterator[Group]:
    """Of this process and one that does as it is told."""
    folder = str(tmp_path_factory.mktemp("group"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "FOLLOWER", along.__name__)
        with launch._others(folder, 2), launch._joined(FileStore(f"{folder}/store", 2), Group(0, 2)) as joined:
            yield joined
            joined.agreed(None)


def trained(given: Order, group: Group = ALONE, resume: Checkpoint | None = None) -> tuple[Trained, Recorder]:
    listener = Recorder()
    if group.size > 1:
        group.agreed(partial(train_network, given, Silent(), resume))
    found = train_network(given, listener, resume, group)
    assert found is not None
    return found, listener


def assert_alike(one: tuple[Trained, Recorder], two: tuple[Trained, Recorder]) -> None:
    (expected, told), (got, heard) = one, two
    for k, W in expected.network.W().items():
        assert torch.equal(W != 0, got.network.W()[k] != 0), k
    states = [t.network.module.state_dict() for t in (expected, got)]
    close(states[1], states[0])
    assert heard.phases == told.phases and heard.steps == told.steps and heard.warnings == told.warnings
    assert heard.shares == told.shares and len(heard.metrics) == len(told.metrics)
    for a, b in zip(told.metrics, heard.metrics, strict=True):
        assert (a.step, a.phase, a.round) == (b.step, b.phase, b.round)
        assert b.values == pytest.approx(a.values, rel=1e-4)
    assert got.ended.convergence.ended == expected.ended.convergence.ended
    assert got.batch_size == expected.batch_size


def test_a_group_of_one_does_nothing():
    x = torch.ones(3)
    assert ALONE.part(5) == slice(0, 5) and ALONE.sum(x) is x and ALONE.gathered([1, 2]) == [1, 2]
    assert ALONE.parallel(module := torch.nn.Linear(1, 1)) is module
    parts = [Group(rank, 3).part(7) for rank in range(3)]
    assert [part.stop - part.start for part in parts] == [2, 2, 3] and parts[-1].stop == 7


def test_what_is_dealt_out_comes_back_in_order(group):
    group.agreed(along.parts)
    assert along.parts(group) == [[0, 1, 2, 3, 4], [0, 10]]


def test_statistics_of_a_batch_are_those_of_all_processes(group):
    """Values, gradients and running statistics, for parts of 3 and 4 examples."""
    group.agreed(along.normalise)
    first, second = along.normalise(group)
    expected = along.normalised_alone()
    near = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)  # x lies at 100: of seven digits five are left
    for k in ("y", "x"):
        near(torch.cat([first[k], second[k]]), expected[k])
    for k in ("mean", "var"):
        near(first[k], expected[k])
        assert torch.equal(first[k], second[k])
    near(first["scale"] + second["scale"], expected["scale"])


def test_the_distance_from_a_teacher_is_that_of_the_whole_batch(group):
    """It is relative to how the teacher's outputs vary, over all examples."""
    group.agreed(along.distances)
    assert sum(along.distances(group)) / 2 == pytest.approx(along.distances(ALONE)[0], rel=1e-5)


@pytest.mark.parametrize("case", ALIKE)
def test_two_processes_do_what_one_does(tiny, tiny_data, group, case):
    given = order(tiny, tiny_data, **ALIKE[case])
    assert_alike(trained(given), trained(given, group))


@pytest.mark.parametrize("put_back", [False, True])
def test_a_net_without_batch_normalization(tiny, tiny_data, group, put_back):
    folded = fold_batch_norms(onnx.load_from_string(tiny)).SerializeToString()
    given = order(folded, tiny_data, train=ODD | {"insert_batch_norm": put_back}, **SHORT)
    one = trained(given)
    assert bool(one[0].network.inserted) == put_back
    assert_alike(one, trained(given, group))


def test_a_checkpoint_is_good_for_any_number_of_processes(tiny, tiny_data, group):
    given = order(tiny, tiny_data, train=ODD, **SHORT)
    whole, told = trained(given)
    together, heard = trained(given, group)
    for listener, where in ((told, group), (heard, ALONE)):
        resumed, _ = trained(given, where, listener.checkpoints[1])
        for k, W in whole.network.W().items():
            close(resumed.network.W()[k], W)
    assert together.ended.history and len(heard.checkpoints) == len(told.checkpoints)


def test_one_process_trains_what_cannot_be_shared(tiny, tiny_data, group):
    given = order(tiny, tiny_data, train={"batch_size": 1}, admm={"rounds": 1}, retrain={"epochs": 0})
    found, listener = trained(given, group)
    assert found.objective.group is ALONE and any("too small for 2 processes" in w for w in listener.warnings)


def test_data_are_decoded_once(tiny, tiny_data, tmp_path, group):
    """The second process finds what the first has left, mapped from disk."""
    given = replace(order(tiny, tiny_data, admm={"rounds": 1}, retrain={"epochs": 0}), cache=tmp_path / "cache")
    trained(given, group)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one process for each of two CUDA devices")
def test_two_devices_do_what_one_does(tiny, tiny_data):
    plan = SMALL | {"train": ODD | {"device": "cuda", "precision": "float32"}}
    given = Order(tiny, tiny_data, Plan.model_validate(plan))
    one, two = (launch.prune(given, Recorder(), processes=n).report for n in (1, 2))
    assert two.compression.weights_kept == one.compression.weights_kept
    assert two.accuracy.pruned == pytest.approx(one.accuracy.pruned, abs=0.03)
