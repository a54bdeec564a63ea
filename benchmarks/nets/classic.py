"""Plain chains of convolutions, as large as they were published, with random weights: what delivery is timed on."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
ALEXNET = (64, 192, 384, 256, 256)


def vgg16(side: int) -> nn.Module:
    """Simonyan and Zisserman 2015, D; at 32 pixels with the one dense layer that is usual for CIFAR-10."""
    blocks: list[nn.Module] = []
    channels = 3
    for widths in VGG16:
        for width in widths:
            blocks += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        blocks.append(nn.MaxPool2d(2))
    if side == 32:
        classifier: Sequence[nn.Module] = [nn.Linear(channels, 10)]
    else:
        inputs = channels * (side // 32) ** 2
        classifier = [nn.Linear(inputs, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    parts: dict[str, nn.Module] = {
        "features": nn.Sequential(*blocks),
        "flatten": nn.Flatten(),
        "classifier": nn.Sequential(*classifier),
    }
    return scaled(nn.Sequential(OrderedDict(parts)))


def alexnet_convolutions() -> nn.Module:
    """Krizhevsky 2014, one tower, without the dense layers: (N, 3, 224, 224) to (N, 256, 6, 6)."""
    kernels, strides, pads = (11, 5, 3, 3, 3), (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
    blocks: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise((3, *ALEXNET))):
        blocks += [nn.Conv2d(before, after, kernels[i], strides[i], pads[i]), nn.ReLU()]
        if i in (0, 1, 4):
            blocks.append(nn.MaxPool2d(3, 2))
    return scaled(nn.Sequential(*blocks))


@torch.no_grad()
def scaled(module: nn.Module) -> nn.Module:
    """Weights of a size that lets values neither vanish nor grow (He et al. 2015), biases of a tenth."""
    for layer in (m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)):
        nn.init.kaiming_normal_(layer.weight)
        _noise(layer.bias)
    return module


def _noise(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.normal_(bias, 0, 0.1)
