"""A worker that does each job in two processes: the result is that of one, and nothing is lost or left."""

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import onnx
import psutil
import pytest
import torch
from onnx import numpy_helper

from pruning.listener import Silent
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from tests.acceptance.test_faults import LONG, begin, check_done_once, in_round
from tests.acceptance.test_operate import admin
from tests.conftest import EXAMPLES, Service

PLAN = LONG | {"admm": {"rounds": 6, "epochs_per_round": 0.25}, "deliver": {"seconds": 0.2}}
OTHER = "pruning.launch"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("two"), job_processes="2").start()
    if {worker["facts"]["processes"] for worker in admin(running, "workers list")} == {1}:
        running.stop()
        pytest.skip("this system has no network of loopback alone for several processes; the worker's log says why")
    yield running
    assert running.stop() == 0


def test_the_result_is_that_of_one_process_although_one_of_two_was_killed(two: Service) -> None:
    job = begin(two, PLAN)
    done = in_round(two, job, 1)["round"]
    (other,) = two.pids(OTHER)
    os.kill(other, signal.SIGKILL)
    check_done_once(two, job, done, plan=PLAN)
    assert two.http.get(f"/v1/jobs/{job}").json()["attempt"] == 2 and two.pids(OTHER) == []
    assert two.http.get(f"/v1/jobs/{job}/report").json()["manifest"]["processes"] == 2
    alone = _tensors(_pruned_alone())
    together = _tensors(two.http.get(f"/v1/jobs/{job}/artifacts/pruned.onnx").content)
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a == 0, b == 0)
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)  # as in tests/unit/pruning/test_processes.py


def test_cancelled_none_is_left(two: Service) -> None:
    job = begin(two, LONG)
    in_round(two, job, 1)
    running = [*two.pids("worker.run"), *two.pids(OTHER)]
    assert len(running) == 2
    two.http.post(f"/v1/jobs/{job}/cancel").raise_for_status()
    assert two.ended(job)["status"] == "cancelled"
    _are_gone(running)


def _pruned_alone() -> bytes:
    """By the library, on one thread, as the service has it."""
    order = Order((EXAMPLES / "digits.onnx").read_bytes(), EXAMPLES / "digits.npz", Plan.model_validate(PLAN))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return prune(order, Silent()).files["pruned.onnx"]
    finally:
        torch.set_num_threads(before)


def _tensors(content: bytes) -> list[np.ndarray]:
    return [numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer]


def _are_gone(pids: list[int]) -> None:
    end = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < end, [pid for pid in pids if psutil.pid_exists(pid)]
        time.sleep(0.05)
