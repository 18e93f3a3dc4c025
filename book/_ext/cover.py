"""Draw the book's cover picture, book/_static/readme.png.

python book/_ext/cover.py
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image

from ddim_edu import (
    Schedule,
    empirical_eps,
    fashion_mnist,
    image_grid,
    tau_linear,
    trajectory,
    use_book_style,
)
from ddim_edu.figures import png

STEPS = 12
SHOWN = (36, 11)  # two of forty starts
OUT = Path(__file__).resolve().parents[1] / "_static" / "readme.png"

use_book_style()
schedule = Schedule.linear()
images = fashion_mnist()[0].double()
g = torch.Generator().manual_seed(1)
x_T = torch.randn(40, 1, 28, 28, generator=g, dtype=torch.float64)
walk = list(
    trajectory(
        empirical_eps(images, schedule),
        schedule,
        x_T[list(SHOWN)],
        tau_linear(schedule.T, STEPS),
    )
)
rows = []
for i in range(len(SHOWN)):
    rows += [x_t[i] for _, x_t, _ in walk]
    rows += [x0_hat[i] for _, _, x0_hat in walk]
figure = image_grid(
    torch.stack(rows),
    columns=STEPS + 1,
    row_labels=["$x_t$", r"guess $\hat x_0$"] * len(SHOWN),
    column_labels=[f"t = {t}" for t, _, _ in walk],
    scale=1.12,
)
picture = Image.open(io.BytesIO(png(figure))).convert("RGB")
picture.quantize(64, dither=Image.Dither.NONE).save(OUT, optimize=True)
