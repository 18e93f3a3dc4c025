"""What a training run depends on, and the recipes of the book."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from .unet import UNetConfig


@dataclass(frozen=True)
class Settings:
    """All that a run depends on; stored in its checkpoint."""

    data: str = "fashion-mnist"
    unet: UNetConfig = field(default_factory=UNetConfig)
    steps: int = 6_000
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 200
    decay: float = 0.3  # the last part of the run, where lr falls to 0
    ema: float = 0.999
    seed: int = 0
    start: str = ""  # a shipped network whose weights the run begins with
    unlabelled: float = 0.1  # share of pictures whose class is not told

    @classmethod
    def from_json(cls, stored: dict) -> Settings:
        return cls(**{**stored, "unet": UNetConfig(**stored["unet"])})

    @property
    def name(self) -> str:
        """What the network is called, and its file."""
        return f"{self.data}-classes" if self.unet.classes else self.data

    @property
    def decay_starts(self) -> int:
        """The first step whose learning rate is below the full one."""
        return self.steps - int(self.decay * self.steps)


# The networks that the book ships. The last one is told the class, for
# guidance, and goes on from the first one, which is not.
RECIPES = {
    "fashion-mnist": Settings(
        unet=UNetConfig(channels=(24, 48, 96)), steps=5_000
    ),
    "pixel-faces": Settings(
        data="pixel-faces",
        unet=UNetConfig(
            image_channels=3,
            channels=(32, 64, 128),
            attention=(False, True, True),
        ),
        steps=7_000,
    ),
    "fashion-mnist-classes": Settings(
        unet=UNetConfig(channels=(24, 48, 96), classes=10),
        steps=2_500,
        lr=7e-4,
        decay=0.6,
        start="fashion-mnist",
    ),
}


def learning_rate(settings: Settings, step: int) -> float:
    """A linear warm-up, a plateau, a linear fall to 0 at the last step."""
    warm = (step + 1) / settings.warmup
    left = settings.steps - step
    fall = left / max(1, settings.steps - settings.decay_starts)
    return settings.lr * max(0.0, min(1.0, warm, fall))


def may_resume(stored: Settings, settings: Settings, done: int) -> bool:
    """Same run? Its length may change while lr has not begun to fall."""
    if stored == settings:
        return True
    same = dataclasses.replace(stored, steps=settings.steps) == settings
    return same and done <= min(stored.decay_starts, settings.decay_starts)
