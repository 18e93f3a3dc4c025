"""The network: DDPM's U-Net, small or at the published size (D.1).

Residual blocks with GroupNorm and SiLU, a sinusoidal embedding of the time
added in each, self-attention where the picture is small, and skips from the
way down to the way up. Shapes: B batch, C channels, H x W pixels, E embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class UNetConfig:
    """What fixes the architecture."""

    image_channels: int = 1  # 3 for colour
    channels: tuple[int, ...] = (32, 64, 96)  # width at each resolution
    blocks: int = 1  # residual blocks a resolution, one more on the way up
    attention: tuple[bool, ...] = (False, False, True)  # after its blocks?
    groups: int = 8  # of every GroupNorm; must divide every width
    dropout: float = 0.0  # in each residual block, while training

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "attention", tuple(self.attention))
        if not self.channels or len(self.attention) != len(self.channels):
            raise ValueError(
                f"attention has {len(self.attention)} entries for "
                f"{len(self.channels)} resolutions"
            )
        for width in self.channels:
            if width % self.groups:
                raise ValueError(
                    f"width {width} is not a multiple of {self.groups} groups"
                )


# Ho et al.'s network for CIFAR-10, 35.7 million weights.
CIFAR10 = UNetConfig(
    image_channels=3,
    channels=(128, 256, 256, 256),
    blocks=2,
    attention=(False, True, False, False),
    groups=32,
    dropout=0.1,
)


class UNet(nn.Module):
    """Map a picture (B, C, H, W) and times (B,) to a picture of its shape.

    H and W must be multiples of 2^(resolutions - 1).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, E = config.channels, 4 * config.channels[0]
        self.time = nn.Sequential(
            nn.Linear(widths[0], E), nn.SiLU(), nn.Linear(E, E)
        )
        self.enter = nn.Conv2d(config.image_channels, widths[0], 3, padding=1)

        def block(c_in: int, c_out: int, attend: bool) -> Block:
            return Block(c_in, c_out, E, attend, config)

        self.down = nn.ModuleList()
        skips = [widths[0]]  # channels of what the way up will be handed
        c = widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(block(c, width, config.attention[level]))
                c = width
                skips.append(c)
            if level < len(widths) - 1:
                self.down.append(Downsample(c))
                skips.append(c)
        self.middle = nn.ModuleList([block(c, c, True), block(c, c, False)])
        self.up = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                attend = config.attention[level]
                self.up.append(block(c + skips.pop(), width, attend))
                c = width
            if level > 0:
                self.up.append(Upsample(c))
        self.leave_norm = nn.GroupNorm(config.groups, c, eps=1e-6)
        self.leave = nn.Conv2d(c, config.image_channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)  # start by predicting 0
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        factor = 2 ** (len(self.config.channels) - 1)
        if x.shape[-1] % factor or x.shape[-2] % factor:
            raise ValueError(
                f"height and width must be multiples of {factor}, got "
                f"{tuple(x.shape)}"
            )
        emb = embed_time(t, self.config.channels[0])
        emb = self.time(emb.to(self.enter.weight.dtype))  # (B, E)
        h = self.enter(x)  # (B, C0, H, W)
        skips = [h]
        for layer in self.down:  # widths grow, H and W halve
            h = layer(h, emb)
            skips.append(h)
        for layer in self.middle:  # (B, C_last, H/factor, W/factor)
            h = layer(h, emb)
        for layer in self.up:  # and back; each block takes one skip
            if isinstance(layer, Block):
                h = torch.cat([h, skips.pop()], dim=1)
            h = layer(h, emb)
        return self.leave(F.silu(self.leave_norm(h)))  # (B, C, H, W)


class Block(nn.Module):
    """Two convolutions, the time in between, a shortcut, maybe attention."""

    def __init__(
        self, c_in: int, c_out: int, E: int, attend: bool, config: UNetConfig
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(E, c_out)
        self.norm2 = nn.GroupNorm(config.groups, c_out, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        )
        self.attention = (
            Attention(c_out, config.groups) if attend else nn.Identity()
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
