"""The network: DDPM's U-Net, small or at the published size (D.1).

Residual blocks with GroupNorm and SiLU, a sinusoidal embedding of the time
added in each, self-attention where the picture is small, and skips from the
way down to the way up. Shapes: B batch, C channels, H x W pixels, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .guards import check_images
from .layers import Block, Downsample, Upsample, embed_time


@dataclass(frozen=True)
class UNetConfig:
    """What fixes the architecture."""

    image_channels: int = 1  # 3 for colour
    channels: tuple[int, ...] = (32, 64, 96)  # width at each resolution
    blocks: int = 1  # residual blocks a resolution, one more on the way up
    attention: tuple[bool, ...] = (False, False, True)  # after its blocks?
    groups: int = 8  # of every GroupNorm; must divide every width
    dropout: float = 0.0  # in each residual block, while training
    classes: int = 0  # labels the network is told; 0: none

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

    H and W must be multiples of 2^(resolutions - 1). A network that is told
    labels takes them as int64 (B,) in 0..classes - 1; ``classes`` itself, or
    no label at all, says that the class is not told.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, E = config.channels, 4 * config.channels[0]
        self.time = nn.Sequential(
            nn.Linear(widths[0], E), nn.SiLU(), nn.Linear(E, E)
        )
        self.enter = nn.Conv2d(config.image_channels, widths[0], 3, padding=1)
        if config.classes:
            self.label = nn.Embedding(config.classes + 1, E)
            nn.init.normal_(self.label.weight, std=0.4)  # as the time's
            nn.init.zeros_(self.label.weight[-1])  # not told: nothing is added

        def block(c_in: int, c_out: int, attend: bool) -> Block:
            return Block(
                c_in, c_out, E, attend, config.groups, config.dropout
            )

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

    def forward(
        self, x: Tensor, t: Tensor, label: Tensor | None = None
    ) -> Tensor:
        check_images(x, self.config.image_channels)
        if t.shape != (len(x),):
            raise ValueError(
                f"t must have shape ({len(x)},), got {tuple(t.shape)}"
            )
        factor = 2 ** (len(self.config.channels) - 1)
        if x.shape[-1] % factor or x.shape[-2] % factor:
            raise ValueError(
                f"height and width must be multiples of {factor}, got "
                f"{tuple(x.shape)}"
            )
        emb = embed_time(t, self.config.channels[0])
        emb = self.time(emb.to(self.enter.weight.dtype))  # (B, E)
        if self.config.classes:
            if label is None:
                label = torch.full_like(t, self.config.classes)
            emb = emb + self.label(label)
        elif label is not None:
            raise ValueError("this network knows no labels (classes = 0)")
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
