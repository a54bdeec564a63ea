"""The same batches, whether examples are kept in memory or prepared batch by batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pruning.analysis import Port, Preprocess
from pruning.batches import Batches, default_size, prepared_bytes
from pruning.data.cache import Source, read
from pruning.errors import DatasetMismatch
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from tests.conftest import save_npz
from tests.unit.pruning.test_pipeline import SMALL, Recorder

CPU = torch.device("cpu")
PORTS = (Port(name="ids", dtype="int64", shape=(None, 3)), Port(name="image", dtype="float", shape=(None, 2, 2, 2)))


@pytest.fixture
def split(tmp_path, rng):
    arrays: dict[str, np.ndarray] = {}
    for name in ("train", "test"):
        arrays[f"x_{name}.ids"] = rng.integers(0, 99, (50, 3)).astype(np.int32)
        arrays[f"x_{name}.image"] = rng.integers(0, 255, (50, 2, 2, 2)).astype(np.uint8)
        arrays[f"y_{name}"] = rng.integers(0, 3, 50)
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    how = Preprocess(scale=1 / 255, mean=(0.1, 0.2), std=(0.5, 0.6))
    return read(Source(tmp_path / "data.npz", preprocess=how), tmp_path / "cache").bound(PORTS).train


def same(a, b):
    (x, y), (other, z) = a, b
    assert torch.equal(y, z)
    for name in x:
        assert torch.equal(x[name], other[name]) and x[name].dtype == other[name].dtype


def test_streamed_is_kept(split):
    part = split.subset(np.arange(0, 50, 2))
    for s in (split, part):
        kept, streamed = (Batches.of(s, 8, 3, CPU, memory) for memory in (1e9, 0))
        assert kept.kept is not None and streamed.kept is None
        for step in (0, 1, 2, 9, 3):
            same(kept.at(step), streamed.at(step))
        for a, b in zip(kept.in_order(7), streamed.in_order(7), strict=True):
            same(a, b)


def test_inputs_of_whole_numbers_are_fed_as_they_are(split):
    x, y = Batches.of(split, 50, 0, CPU).at(0)
    assert x["ids"].dtype == torch.int64 and x["ids"].max() > 3
    assert x["image"].dtype == torch.float32 and x["image"].max() < 2 and y is not None and y.dtype == torch.int64


def test_an_epoch_is_every_example_once(split):
    batches = Batches.of(split, 10, 0, CPU, 0)
    seen = torch.cat([batches.at(step)[0]["ids"] for step in range(batches.steps)])
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, split.x["ids"].tolist()))


def test_prepared_bytes_are_counted(split):
    kept = Batches.of(split, 10, 0, CPU).kept
    assert kept is not None and kept.y is not None
    tensors = [*kept.x.values(), kept.y]
    assert prepared_bytes(split) == sum(t.numel() * t.element_size() for t in tensors)


def test_small_data_gets_small_batches():
    assert [default_size(n) for n in (50, 800, 1600, 3200, 6400, 10**6)] == [16, 16, 32, 64, 128, 128]


def test_other_names_than_the_models_are_refused(split):
    with pytest.raises(DatasetMismatch, match="the model takes a, b, but the data set holds ids, image: name the arr"):
        split.bound([Port(name=n, dtype="float", shape=(None, 3)) for n in "ab"])


def test_a_streamed_job_delivers_the_same_file(tiny, tmp_path):
    data = save_npz(tmp_path / "data.npz", 100)
    plan = Plan.model_validate(SMALL)
    settings = ({}, {"cache": tmp_path / "cache"}, {"cache": tmp_path / "cache", "memory": 0})
    made = {prune(Order(tiny, data, plan, **more), Recorder()).files["pruned.onnx"] for more in settings}
    assert len(made) == 1


def test_training_images_are_changed_the_same_way_at_the_same_step(tmp_path, rng):
    """Kept or streamed, and for channels last as for channels first; validation sees what is stored."""
    x, y = rng.random((40, 12, 12, 1)).astype(np.float32), rng.integers(0, 3, 40)
    found = {}
    for layout, images in (("nhwc", x), ("nchw", x.transpose(0, 3, 1, 2))):
        path = tmp_path / f"{layout}.npz"
        np.savez(path, x_train=images, y_train=y, x_test=images, y_test=y)
        part = read(Source(path, preprocess=Preprocess.model_validate({"layout": layout}))).train
        for memory in (0, 1e9):
            batches = replace(Batches.of(part, 8, 3, CPU, memory), augment="crop_flip")
            (first,) = batches.at(2)[0].values()
            assert torch.equal(first, next(iter(batches.at(2)[0].values())))
            found[layout, memory] = first if layout == "nchw" else first.permute(0, 3, 1, 2)
            (plain,) = Batches.of(part, 8, 3, CPU, memory).at(2)[0].values()
            assert not torch.equal(first, plain)
    first, *others = found.values()
    assert all(torch.equal(first, other) for other in others)
