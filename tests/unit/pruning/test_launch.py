"""Processes that are started for a job: the same files come out, and an error of any of them is the job's."""

from dataclasses import replace

import numpy as np
import onnx
import psutil
import pytest
from onnx import numpy_helper
from torch._C._distributed_c10d import FileStore

from pruning import launch
from pruning.errors import Cancelled, Diverged, InvalidPlan, LostProcess, OutOfMemory
from pruning.processes import Group
from tests.unit.pruning import along_failing
from tests.unit.pruning.test_pipeline import Recorder, order


class Killer(Recorder):
    """Kills the second process after the first round."""

    def metric(self, metric):
        super().metric(metric)
        if metric.step == 1:
            next(p for p in others() if p.status() != psutil.STATUS_ZOMBIE).kill()


def others() -> list[psutil.Process]:
    """Started for a job, by either module."""
    return [p for p in psutil.Process().children() if {"pruning.launch", along_failing.__name__} & set(p.cmdline())]


def tensors(content: bytes) -> list[np.ndarray]:
    return [numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer]


def test_the_files_are_those_of_one_process(tiny, tiny_data, tmp_path):
    given = replace(order(tiny, tiny_data), cache=tmp_path / "cache")
    one, two = (launch.prune(given, Recorder(), processes=n) for n in (1, 2))
    assert two.files["masks.safetensors"] == one.files["masks.safetensors"] and set(two.files) == set(one.files)
    for a, b in zip(tensors(one.files["pruned.onnx"]), tensors(two.files["pruned.onnx"]), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)  # as in test_processes.py
    assert two.report.accuracy == one.report.accuracy and two.report.layers == one.report.layers
    assert two.report.compression.weights_kept == one.report.compression.weights_kept
    assert not others()


def test_an_error_of_another_process_is_that_of_the_job(tiny, tiny_data, monkeypatch):
    monkeypatch.setattr(launch, "FOLLOWER", along_failing.__name__)
    listener = Recorder()
    with pytest.raises(OutOfMemory, match="batch_size"):
        launch.prune(order(tiny, tiny_data), listener, processes=2)
    assert 0 < listener.steps <= along_failing.STEP and not others()


def test_a_process_that_is_killed_ends_the_job_with_a_sentence(tiny, tiny_data):
    with pytest.raises(LostProcess, match=r"process 2 of 2 ended early \(SIGKILL\): try again"):
        launch.prune(order(tiny, tiny_data), Killer(), processes=2)
    assert not others()


def test_what_ends_the_first_process_ends_the_other(tiny, tiny_data):
    with pytest.raises(Cancelled):
        launch.prune(order(tiny, tiny_data), Recorder(stop_at=5), processes=2)
    assert not others()


@pytest.mark.parametrize(
    "error", [InvalidPlan("no such layer", "/layers/0"), Diverged(), MemoryError(), RuntimeError("unforeseen")]
)
def test_errors_are_handed_on_whole(tmp_path, capsys, error):
    store = FileStore(str(tmp_path / "store"), 1)
    said = launch._tell(store, Group(1, 2), error)
    launch._tell(store, Group(2, 3), Diverged("a later one does not count"))
    told = launch._told(store)
    assert type(told) is (OutOfMemory if isinstance(error, MemoryError) else type(error)) and said in str(told)
    assert getattr(told, "pointer", "") == getattr(error, "pointer", "")
    assert ("unforeseen" in capsys.readouterr().err) == (said == "unforeseen"), "with a traceback for the log"
