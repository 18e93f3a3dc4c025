"""The house style, and pictures of batches of images.

Figures are white-backed (they stay legible in dark mode), use colours that
colour-blind readers can tell apart, and come out as the same bytes each time.
"""

from __future__ import annotations

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

# Okabe and Ito's palette, strongest contrasts first.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PINK, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#E69F00", "#666666"

STYLE = {
    "figure.figsize": (6.4, 3.4),
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": "tight",
    "axes.facecolor": "white",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(
        color=[BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, GREY]
    ),
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "svg.hashsalt": "ddim-edu",
}


def use_book_style() -> None:
    """Set the house style; in a notebook also crisp, reproducible PNGs."""
    mpl.rcParams.update(STYLE)
    from IPython import get_ipython

    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # the default metadata names the version of matplotlib
        set_matplotlib_formats("retina", metadata={"Software": None})


def to_pixels(images: Tensor) -> Tensor:
    """Map images (..., C, H, W) in [-1, 1] to [0, 1], (..., H, W[, 3]).

    Values outside [-1, 1] are cut off: only the picture is, not the state.

    Raises
    ------
    ValueError
        If C is neither 1 nor 3, or a value is not finite.
    """
    if images.ndim < 3 or images.shape[-3] not in (1, 3):
        raise ValueError(
            f"images must be (..., 1 or 3, H, W), got {tuple(images.shape)}"
        )
    images = images.detach().cpu().float()
    if not torch.isfinite(images).all():
        raise ValueError("images hold a value that is not finite")
    pixels = (images / 2 + 0.5).clamp(0, 1).movedim(-3, -1)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def sheet(images: Tensor, columns: int, pad: int = 2) -> Tensor:
    """Lay images (N, C, H, W) out in rows on white, as pixels in [0, 1]."""
    if columns < 1:
        raise ValueError(f"columns must be >= 1, got {columns}")
    pixels = to_pixels(images)
    n, h, w = pixels.shape[:3]
    rows = -(-n // columns)
    size = (rows * (h + pad) - pad, columns * (w + pad) - pad)
    out = torch.ones(*size, *pixels.shape[3:])
    for i in range(n):
        y, x = i // columns * (h + pad), i % columns * (w + pad)
        out[y : y + h, x : x + w] = pixels[i]
    return out


def image_grid(
    images: Tensor,
    columns: int = 8,
    row_labels: list[str] | None = None,
    column_labels: list[str] | None = None,
    scale: float = 1.0,
) -> Figure:
    """Draw images (N, C, H, W) in [-1, 1] as a grid with labelled sides.

    ``scale`` is the size of one image in units of 0.75 inch.
    """
    if len(images) == 0:
        raise ValueError(f"nothing to draw: images {tuple(images.shape)}")
    h, w = images.shape[-2:]
    pad = 2
    page = sheet(images, columns, pad)
    rows = -(-len(images) // columns)
    for labels, n in ((row_labels, rows), (column_labels, columns)):
        if labels is not None and len(labels) != n:
            raise ValueError(f"{len(labels)} labels for {n} rows or columns")
    cell = 0.75 * scale
    fig = plt.figure(
        figsize=(page.shape[1] / w * cell, page.shape[0] / h * cell)
    )
    ax = fig.add_axes((0, 0, 1, 1))
    ax.imshow(
        page.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    for axis, labels, n, step in (
        (ax.yaxis, row_labels, rows, h + pad),
        (ax.xaxis, column_labels, columns, w + pad),
    ):
        ends = [i * step + (step - pad) / 2 - 0.5 for i in range(n)]
        axis.set_ticks(ends if labels else [], labels or [])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    return fig


def with_palette(picture: Image.Image, colours: int) -> Image.Image:
    """An RGB picture with a palette: as PNG three to four times smaller.

    Maximum coverage keeps a few dots of a rare colour; median cut, PIL's
    default, spends its palette on the greys of smoothed edges. Then k-means
    moves each entry to the middle of the colours that it stands for: without
    it a strong colour that fills the picture may shift.
    """
    return picture.quantize(
        colours,
        method=Image.Quantize.MAXCOVERAGE,
        kmeans=4,
        dither=Image.Dither.NONE,
    )


def png(fig: Figure) -> bytes:
    """Render ``fig`` to PNG bytes that name no version, and close it."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()
