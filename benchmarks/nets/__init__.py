"""Nets as users write them, in plain torch: what the importer is tried and timed on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.nets import images, segmentation, sequences

TOKENS = 500


@dataclass(frozen=True)
class Net:
    """A net, and a batch for it.

    feed: its inputs by name, in the order of forward, for so many examples; axis 0 is the batch of every one.
    """

    make: Callable[[], nn.Module]
    feed: Callable[[int], Mapping[str, Tensor]]

    def build(self, seasoned: bool = False) -> nn.Module:
        """Seeded, in evaluation mode, with running statistics that are not the identity.

        seasoned: no two vectors of parameters are equal, as after training; exporters merge those that are.
        """
        torch.manual_seed(0)
        module = self.make().eval()
        for vector in (p for p in module.parameters() if seasoned and p.dim() == 1):
            vector.data += 0.05 * torch.randn_like(vector)
        for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
            nn.init.normal_(norm.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
        return module

    def batch(self, examples: int) -> dict[str, Tensor]:
        """A seeded batch."""
        torch.manual_seed(1)
        return dict(self.feed(examples))


def picture(channels: int, side: int) -> Callable[[int], Mapping[str, Tensor]]:
    return lambda n: {"image": torch.rand(n, channels, side, side)}


def tokens(length: int) -> Callable[[int], Mapping[str, Tensor]]:
    return lambda n: {"ids": torch.randint(0, TOKENS, (n, length))}


def padded(n: int, length: int) -> Tensor:
    """(N, length), True where an example is over: each has at least a quarter of its steps."""
    ends = torch.randint(length // 4, length + 1, (n, 1))
    return torch.arange(length) >= ends


def steps(n: int, length: int, features: int) -> dict[str, Tensor]:
    return {"steps": torch.randn(n, length, features)}


NETS: dict[str, Net] = {
    "lenet": Net(images.lenet, picture(1, 28)),
    "vgg_bn": Net(images.vgg_bn, picture(3, 32)),
    "resnet20": Net(images.resnet20, picture(3, 32)),
    "resnet50": Net(images.resnet50, picture(3, 64)),
    "mobilenet_v2": Net(images.mobilenet_v2, picture(3, 64)),
    "mobilenet_v3": Net(images.mobilenet_v3, picture(3, 64)),
    "densenet": Net(images.densenet, picture(3, 32)),
    "two_inputs": Net(images.PictureAndVector, lambda n: {**picture(3, 32)(n), "vector": torch.randn(n, 12)}),
    "unet": Net(lambda: segmentation.UNet(upsample="transposed"), picture(3, 32)),
    "unet_resize": Net(lambda: segmentation.UNet(upsample="resize"), picture(3, 32)),
    "transformer": Net(sequences.Transformer, lambda n: steps(n, 16, 24)),
    "transformer_masked": Net(sequences.Transformer, lambda n: {**steps(n, 16, 24), "key_padding_mask": padded(n, 16)}),
    "bert": Net(
        lambda: sequences.Bert(TOKENS),
        lambda n: {**tokens(16)(n), "attention_mask": (~padded(n, 16)).long()},
    ),
    "lstm": Net(sequences.Lstm, lambda n: steps(n, 12, 20)),
    "lstm_embedding": Net(lambda: sequences.Lstm(tokens=TOKENS), tokens(12)),
    "gru": Net(sequences.Gru, lambda n: steps(n, 12, 20)),
}
