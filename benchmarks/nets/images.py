"""Nets that classify images."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """body(x) + skip(x), then what comes after."""

    def __init__(self, body: nn.Module, skip: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body, self.skip, self.after = body, skip, after

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (N, in, H, W). Returns: (N, out, H', W')."""
        return self.after(self.body(x) + self.skip(x))


class SqueezeExcite(nn.Module):
    """Channels weighted by what all positions say together (Hu et al. 2018), as in MobileNetV3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = channels // 4
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, between, 1),
            nn.ReLU(),
            nn.Conv2d(between, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (N, C, H, W)."""
        return x * self.gate(x)


class DenseLayer(nn.Module):
    """Appends `growth` channels to its input (Huang et al. 2017)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (N, C, H, W). Returns: (N, C + growth, H, W)."""
        return torch.cat((x, self.body(x)), 1)


class PictureAndVector(nn.Module):
    """An image and a vector of measurements, joined before the classifier."""

    def __init__(self, features: int = 12, classes: int = 10) -> None:
        super().__init__()
        self.eye = nn.Sequential(conv_bn(3, 16, 3, 2), conv_bn(16, 32, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.vector = nn.Sequential(nn.Linear(features, 32), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        """Args: image: (N, 3, H, W); vector: (N, features)."""
        return self.head(torch.cat((self.eye(image), self.vector(vector)), 1))


def lenet() -> nn.Module:
    """LeNet-5 of the Caffe examples: 430,500 weights."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(800, 500),
            relu=nn.ReLU(),
            fc2=nn.Linear(500, 10),
        )
    )


def vgg_bn(widths: Sequence[int] = (32, 64, 128, 128), classes: int = 10) -> nn.Module:
    """Two convolutions, then half the side, four times; dropout before the last layer."""
    blocks: list[nn.Module] = []
    channels = 3
    for width in widths:
        blocks += [conv_bn(channels, width, 3), conv_bn(width, width, 3), nn.MaxPool2d(2, 2)]
        channels = width
    features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten())
    dense = nn.Sequential(nn.Linear(channels * 4, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, classes))
    return nn.Sequential(OrderedDict(features=features, classifier=dense))


def resnet20(classes: int = 10) -> nn.Module:
    """For CIFAR-10 (He et al. 2016, 4.2): three stages of three blocks."""
    blocks: list[nn.Module] = [conv_bn(3, 16, 3)]
    channels = 16
    for width in (16, 32, 64):
        for _ in range(3):
            stride = 2 if width != channels else 1
            body = nn.Sequential(conv_bn(channels, width, 3, stride), conv_bn(width, width, 3, after=nn.Identity))
            skip = nn.Identity() if stride == 1 else conv_bn(channels, width, 1, stride, after=nn.Identity)
            blocks.append(Residual(body, skip, nn.ReLU()))
            channels = width
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def resnet50(classes: int = 1000) -> nn.Module:
    """For ImageNet (He et al. 2016, 4.1), stride on the 3x3 convolution: 25.6 million weights, 102 MB."""
    blocks: list[nn.Module] = [conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width, count in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for i in range(count):
            stride = 2 if i == 0 and width > 64 else 1
            out = 4 * width
            body = nn.Sequential(
                conv_bn(channels, width, 1),
                conv_bn(width, width, 3, stride),
                conv_bn(width, out, 1, after=nn.Identity),
            )
            skip = nn.Identity() if i else conv_bn(channels, out, 1, stride, after=nn.Identity)
            blocks.append(Residual(body, skip, nn.ReLU()))
            channels = out
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def mobilenet_v2(classes: int = 10) -> nn.Module:
    """Inverted residuals with depthwise convolutions and ReLU6 (Sandler et al. 2018), half as many blocks."""
    blocks: list[nn.Module] = [conv_bn(3, 32, 3, 2, after=nn.ReLU6)]
    channels = 32
    for expand, out, stride in ((1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 64, 2), (6, 96, 1)):
        blocks.append(inverted_residual(channels, channels * expand, out, 3, stride, nn.ReLU6, squeeze=False))
        channels = out
    blocks += [conv_bn(channels, 320, 1, after=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(*blocks, nn.Linear(320, classes))


def mobilenet_v3(classes: int = 10) -> nn.Module:
    """The small one (Howard et al. 2019): squeeze and excite, hardswish; its first seven blocks."""
    blocks: list[nn.Module] = [conv_bn(3, 16, 3, 2, after=nn.Hardswish)]
    channels = 16
    for k, between, out, squeeze, act, stride in (
        (3, 16, 16, True, nn.ReLU, 2),
        (3, 72, 24, False, nn.ReLU, 2),
        (3, 88, 24, False, nn.ReLU, 1),
        (5, 96, 40, True, nn.Hardswish, 2),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 120, 48, True, nn.Hardswish, 1),
        (5, 144, 48, True, nn.Hardswish, 1),
    ):
        blocks.append(inverted_residual(channels, between, out, k, stride, act, squeeze))
        channels = out
    blocks += [conv_bn(channels, 288, 1, after=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*blocks, nn.Linear(288, 256), nn.Hardswish(), nn.Linear(256, classes))


def densenet(growth: int = 12, classes: int = 10) -> nn.Module:
    """Three blocks of four layers, halved in channels and sides between them."""
    blocks: list[nn.Module] = [nn.Conv2d(3, 2 * growth, 3, padding=1, bias=False)]
    channels = 2 * growth
    for stage in range(3):
        for _ in range(4):
            blocks.append(DenseLayer(channels, growth))
            channels += growth
        blocks += [nn.BatchNorm2d(channels), nn.ReLU()]
        if stage < 2:
            blocks += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def conv_bn(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, after: type[nn.Module] = nn.ReLU
) -> nn.Module:
    """Convolution that keeps the side (before the stride), batch normalization, what comes after."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out), after=after()))


def inverted_residual(
    channels: int, between: int, out: int, kernel: int, stride: int, after: type[nn.Module], squeeze: bool
) -> nn.Module:
    """Wide in the middle; with a skip where nothing changes."""
    body = nn.Sequential(
        nn.Identity() if between == channels else conv_bn(channels, between, 1, after=after),
        conv_bn(between, between, kernel, stride, groups=between, after=after),
        SqueezeExcite(between) if squeeze else nn.Identity(),
        conv_bn(between, out, 1, after=nn.Identity),
    )
    return Residual(body, nn.Identity(), nn.Identity()) if stride == 1 and channels == out else body
