"""What the network is built from: blocks, attention, halving, doubling.

Shapes: B batch, C channels, H x W pixels, E embedding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions, the time in between, a shortcut, maybe attention."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        E: int,
        attend: bool,
        groups: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(E, c_out)
        self.norm2 = nn.GroupNorm(groups, c_out, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        )
        self.attention = (
            Attention(c_out, groups) if attend else nn.Identity()
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))  # (B, c_out, H, W)
        h = h + self.time(F.silu(emb))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.attention(self.shortcut(x) + h)


class Attention(nn.Module):
    """Every pixel looks at every pixel: one head over H*W places."""

    def __init__(self, c: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, c, eps=1e-6)
        self.q, self.k, self.v, self.out = (nn.Linear(c, c) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C)
        # (B, 1, H*W, C): one head
        q, k, v = (f(h)[:, None] for f in (self.q, self.k, self.v))
        h = self.out(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + h.transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    """Halve H and W by a convolution of stride 2, padded right and below."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double H and W by repeating pixels, then convolve."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def embed_time(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of t at ``width``/2 frequencies: (B, width)."""
    half = width // 2
    rate = -math.log(10_000) / (half - 1)
    freq = torch.exp(rate * torch.arange(half, device=t.device))
    angle = t[:, None].float() * freq  # (B, half)
    return torch.cat([angle.sin(), angle.cos()], dim=1)
