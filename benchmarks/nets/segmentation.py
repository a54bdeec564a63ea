"""Nets that give a class to every pixel."""

import itertools
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.nets.images import conv_bn


class UNet(nn.Module):
    """Three levels down and up again with skips (Ronneberger et al. 2015).

    upsample: a transposed convolution learns it, or bilinear interpolation to the side of the skip does it.
    """

    def __init__(self, upsample: Literal["transposed", "resize"], width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.upsample = upsample
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(_up(upsample, b, a) for a, b in itertools.pairwise(widths))
        self.join = nn.ModuleList(_twice(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Args: image: (N, 3, H, W). Returns: (N, classes, H, W)."""
        skips = []
        x = self.down[0](image)
        for level in self.down[1:]:
            skips.append(x)
            x = level(F.max_pool2d(x, 2))
        for up, join, skip in zip(reversed(self.up), reversed(self.join), reversed(skips), strict=True):
            if self.upsample == "resize":
                x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = join(torch.cat((skip, up(x)), 1))
        return self.head(x)


def _twice(channels: int, out: int) -> nn.Module:
    return nn.Sequential(conv_bn(channels, out, 3), conv_bn(out, out, 3))


def _up(upsample: str, channels: int, out: int) -> nn.Module:
    return nn.ConvTranspose2d(channels, out, 2, 2) if upsample == "transposed" else nn.Conv2d(channels, out, 1)
