"""Nothing that stays on the CPU meets data on a device: run on torch's meta device, which refuses such calls."""

import warnings

import pytest
import torch
from torch import nn

from pruning.onnx.analyse import analyse
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet

META = torch.device("meta")


class Viewed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 3)

    def forward(self, x):
        h = self.conv(x)
        return self.head(h.view(h.size(0), -1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.token = nn.Linear(8, 24), nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        n, steps, width = x.shape
        q, k, v = self.qkv(x).view(n, steps, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mask = torch.ones(steps, steps, dtype=torch.bool, device=x.device).tril()
        scores = (q @ k.transpose(-1, -2)).masked_fill(~mask, -1e4)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, steps, width).mean(1)


class Resized(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        h = self.conv(nn.functional.max_pool2d(x, 2))
        return nn.functional.interpolate(h, size=x.shape[2:], mode="bilinear").mean((2, 3))


NETS = {
    "view": (Viewed(), (2, 3, 8, 8)),
    "lstm": (Recurrent(), (2, 6, 4)),
    "attention": (Attention(), (2, 5, 8)),
    "resize": (Resized(), (2, 3, 8, 8)),
}


@pytest.mark.parametrize("name", NETS)
def test_every_call_is_on_one_device(name, tmp_path):
    module, shape = NETS[name]
    file = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old exporter says that it is old
        axes = {"x": {0: "N"} | ({2: "H", 3: "W"} if name == "resize" else {}), "y": {0: "N"}}
        torch.onnx.export(
            module.eval(), (torch.randn(shape),), file, dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes=axes, opset_version=17,
        )  # fmt: skip
    model = unshare(vet(file.read_bytes()))
    _, network = analyse(model)
    expected = network({"x": torch.randn(3, *shape[1:])})["y"].shape
    network.to(META)
    assert network({"x": torch.randn(3, *shape[1:], device=META)})["y"].shape == expected
    assert network({"x": torch.randn(3, *shape[1:], device=META)})["y"].device == META
