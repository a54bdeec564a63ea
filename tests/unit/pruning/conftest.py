"""Tiny nets are trained on one thread: where cores are shared, two wait for each other more than they compute."""

from collections.abc import Iterator

import pytest
import torch

from pruning import measure


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_processes_to_measure_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each job, of which there are hundreds; test_measure.py has the measuring."""
    if "test_measure" not in request.module.__name__:
        monkeypatch.setattr(measure, "peak_memory", lambda content, x: None)
