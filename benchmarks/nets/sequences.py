"""Nets that classify sequences."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Transformer(nn.Module):
    """nn.TransformerEncoder over projected steps; the mean over time is classified."""

    def __init__(self, features: int = 24, width: int = 32, classes: int = 5) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True, norm_first=False)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, steps: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Args: steps: (N, T, features); key_padding_mask: (N, T), True where there is nothing."""
        x = self.encoder(self.project(steps), src_key_padding_mask=key_padding_mask)
        return self.head(x.mean(1))


class Bert(nn.Module):
    """Token and position embeddings, layers with an additive mask, the first token classified (Devlin et al. 2019)."""

    def __init__(self, tokens: int, longest: int = 32, width: int = 32, classes: int = 5) -> None:
        super().__init__()
        self.words = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(longest, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(BertLayer(width) for _ in range(2))
        self.pooler = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Args: ids: (N, T) int64; attention_mask: (N, T) int64, 1 where there is a token."""
        mask = (1.0 - attention_mask[:, None, None, :].float()) * -1e4
        x = self.norm(self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device)))
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(torch.tanh(self.pooler(x[:, 0])))


class BertLayer(nn.Module):
    """Attention written out, GELU between two dense layers, LayerNorm after each."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Args: x: (N, T, width); mask: (N, 1, 1, T), added to the scores."""
        n, t, width = x.shape
        q, k, v = (
            f(x).view(n, t, self.heads, width // self.heads).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads) + mask
        seen = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, width)
        x = self.norm1(x + self.out(seen))
        return self.norm2(x + self.narrow(F.gelu(self.wide(x))))


class Lstm(nn.Module):
    """A bidirectional LSTM of two layers; its last step is classified. Steps are floats, or tokens embedded first."""

    def __init__(self, features: int = 20, width: int = 24, classes: int = 5, tokens: int = 0) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, features) if tokens else nn.Identity()
        self.lstm = nn.LSTM(features, width, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, steps: Tensor) -> Tensor:
        """Args: steps: (N, T, features), or (N, T) int64."""
        y, _ = self.lstm(self.embed(steps))
        return self.head(y[:, -1])


class Gru(nn.Module):
    """A GRU; its last state is classified."""

    def __init__(self, features: int = 20, width: int = 24, classes: int = 5) -> None:
        super().__init__()
        self.gru = nn.GRU(features, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, steps: Tensor) -> Tensor:
        """Args: steps: (N, T, features)."""
        _, state = self.gru(steps)
        return self.head(state[-1])
