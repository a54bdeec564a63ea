"""What is measured on files: which rows, how often, in which order; sizes and memory. No speed is asserted."""

import gzip
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from zstandard import ZstdCompressor, ZstdDecompressor

from pruning import measure
from pruning.errors import RejectedModel
from pruning.measure import CPU, CUDA, in_turn, latencies, latency, loading, peak_memory, sizes, zstd_bytes

BYTES = 52_000_000


def net(batch: int | str = "n", features: int = 6, shape: list[int] | None = None) -> bytes:
    """A dense layer; shape: that its output is brought to."""
    W = np.ones((features, features), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Reshape", ["h", "shape"], ["y"])]
    tensors = [numpy_helper.from_array(W, "w"), numpy_helper.from_array(np.array(shape or [-1, features]), "shape")]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, features]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def examples(number: int = 3, features: int = 6) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).random((number, features), dtype=np.float32)}


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "cores", lambda: 2)


@pytest.mark.usefixtures("two_cores")
def test_the_rows_are_threads_by_batch_and_only_the_first_holds_the_packed_file():
    rows = latencies({"dense": net(), "pruned": net(), "packed": net()}, examples(), seconds=0.01)
    assert [(row.threads, row.batch) for row in rows] == [(1, 1), (1, 32), (2, 1), (2, 32)]
    assert {row.provider for row in rows} == {CPU}
    assert [row.packed_ms is None for row in rows] == [False, True, True, True]
    for row in rows:
        assert row.dense_ms > 0 and row.pruned_ms > 0 and row.speedup > 0 and row.spread >= 0 and row.runs >= 3


@pytest.mark.usefixtures("two_cores")
def test_files_with_a_fixed_batch_have_no_larger_one():
    rows = latencies({"dense": net(4), "pruned": net(4)}, examples(), seconds=0.01)
    assert [(row.threads, row.batch) for row in rows] == [(1, 4), (2, 4)]


def test_one_core_is_measured_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "cores", lambda: 1)
    rows = latencies({"dense": net(), "pruned": net()}, examples(), seconds=0.01)
    assert [(row.threads, row.batch) for row in rows] == [(1, 1), (1, 32)]


def test_a_batch_that_hides_in_a_shape_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "cores", lambda: 1)
    rows = latencies({"dense": net(), "pruned": net(shape=[1, 6])}, examples(), seconds=0.01)
    assert [row.batch for row in rows] == [1]


@pytest.mark.parametrize(("longest", "batches"), [(0.0, [1]), (8.0, [1, 8]), (11.0, [1, 8]), (1e9, [1, 32])])
def test_the_larger_batch_is_smaller_where_a_call_takes_long(monkeypatch: pytest.MonkeyPatch, longest, batches):
    monkeypatch.setattr(measure, "cores", lambda: 1)
    monkeypatch.setattr(measure, "LONGEST_MS", longest)
    monkeypatch.setattr(measure, "in_turn", lambda calls, seconds: {name: [1.0] * 5 for name in calls})
    rows = latencies({"dense": net(), "pruned": net()}, examples())
    assert [row.batch for row in rows] == batches


def test_a_gpu_that_is_not_there_has_no_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "cores", lambda: 1)
    monkeypatch.setattr(measure.ort, "get_available_providers", lambda: [CUDA, CPU])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the runtime says that it has no such provider
        rows = latencies({"dense": net(), "pruned": net()}, examples(), seconds=0.01)
    assert {row.provider for row in rows} == {CPU}


def test_a_file_that_does_not_run_is_rejected():
    with pytest.raises(RejectedModel, match="does not run"):
        latencies({"dense": net(), "pruned": net(shape=[7, 6])}, examples(), seconds=0.01)


def test_the_numbers_are_medians_of_calls_in_turn(monkeypatch: pytest.MonkeyPatch):
    times = {"dense": [4.0, 6.0, 6.0, 6.0, 6.0], "pruned": [2.0, 2.0, 2.0, 3.0, 3.0]}
    monkeypatch.setattr(measure, "in_turn", lambda calls, seconds: {name: times[name] for name in calls})
    found = latency(net(), net(), examples(1))
    assert (found.dense_ms, found.pruned_ms, found.runs) == (6.0, 2.0, 5)
    assert found.speedup == 2.0  # of 2, 3, 3, 2, 2
    assert found.spread == 0.5  # (3 - 2) / 2, that of pruned; that of dense is (6 - 5) / 6


def test_calls_are_made_in_turn_and_short_ones_twice():
    made: list[str] = []
    times = in_turn({name: lambda name=name: made.append(name) for name in "abc"}, seconds=5, most=4)
    assert "".join(made) == "abc" * measure.WARM + "aabbcc" * 4
    assert {name: len(taken) for name, taken in times.items()} == {"a": 4, "b": 4, "c": 4}


def test_long_calls_are_made_once_and_few_times():
    made: list[str] = []

    def wait(name: str) -> None:
        made.append(name)
        time.sleep(1.2 * measure.SHORT_MS / 1e3)

    times = in_turn({name: lambda name=name: wait(name) for name in "ab"}, seconds=0.001)
    assert "".join(made) == "ab" + "aabb" + "ab" * (measure.LEAST - 1)
    assert all(taken > measure.SHORT_MS for taken in times["a"] + times["b"])


def test_loading_is_timed_for_each_file():
    found = loading({"dense": net(features=300), "pruned": net(), "packed": net()}, seconds=0.01)
    assert set(found) == {"dense", "pruned", "packed"} and all(taken > 0 for taken in found.values())


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from /proc")
def test_the_memory_holds_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (2**32, before[1]))  # as a job's process has it
    try:
        features = round((BYTES / 4) ** 0.5)
        large = peak_memory(net(features=features), examples(1, features))
        small = peak_memory(net("n"), examples())
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert large is not None and BYTES <= large < 10 * BYTES  # although this process is larger than the files
    assert small is not None and 0 < small < BYTES
    assert list(tmp_path.iterdir()) == []


def test_memory_that_cannot_be_measured_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "peak.py").write_text("raise SystemExit(1)")
    monkeypatch.setattr(measure.peak, "__file__", str(tmp_path / "peak.py"))
    assert peak_memory(net(), examples()) is None


def test_sizes_are_those_of_files_that_come_back(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    content = np.where(np.abs(values) > 1.6, values, 0).astype(np.float32).tobytes()
    gzipped, small = gzip.compress(content, 9, mtime=0), ZstdCompressor(level=19).compress(content)
    assert gzip.decompress(gzipped) == ZstdDecompressor().decompress(small) == content
    found = sizes(content)
    assert (found.raw, found.gzip, found.zstd) == (len(content), len(gzipped), len(small))
    assert found.zstd < found.raw / 2
    monkeypatch.setattr(measure, "LARGE_BYTES", len(content) - 1)
    assert zstd_bytes(content) == len(ZstdCompressor(level=15).compress(content))


@pytest.mark.usefixtures("two_cores")
def test_everything_is_measured_on_every_file():
    files = {"dense": net(features=40), "pruned": net(features=40)}
    found = measure.measure(files, examples(features=40))
    assert set(found.loading) == set(found.memory) == set(found.sizes) == set(files)
    assert found.sizes["dense"].raw == len(files["dense"])
    assert (found.latencies[0].threads, found.latencies[0].batch) == (1, 1)
