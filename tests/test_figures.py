"""Laws of the pictures: honest pixels, the same bytes each time."""

import io
import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import normal
from PIL import Image

from ddim_edu import figures, image_grid, use_book_style
from ddim_edu.figures import png, sheet, to_pixels


@pytest.fixture(autouse=True)
def house_style():
    with mpl.rc_context():
        use_book_style()
        yield
    plt.close("all")


def curve():
    fig, ax = plt.subplots()
    ax.plot([0, 1, 2], [1, 0, 3], label="eta = 0")
    ax.set_xlabel("step")
    ax.legend()
    return fig


@given(st.floats(-1, 1, width=32))
def test_pixels_are_the_images_moved_to_0_1(value):
    pixels = to_pixels(torch.full((1, 1, 2, 2), value))
    assert pixels.shape == (1, 2, 2)
    assert float(pixels[0, 0, 0]) == pytest.approx((value + 1) / 2, abs=1e-7)


def test_pixels_outside_are_cut_off():
    pixels = to_pixels(torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0])[None, None])
    assert pixels.tolist() == [[0, 0, 0.5, 1, 1]]


def test_colour_goes_last_and_grey_goes_away():
    x = normal(5, 2, 3, 4, 6, dtype=torch.float32).tanh()
    pixels = to_pixels(x)
    assert pixels.shape == (5, 2, 4, 6, 3)
    assert torch.equal(pixels[1, 1, :, :, 2], x[1, 1, 2] / 2 + 0.5)
    assert to_pixels(x[:, :, :1]).shape == (5, 2, 4, 6)
    assert to_pixels(x.half().requires_grad_()).dtype == torch.float32


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_state_that_is_not_finite_is_no_picture(value):
    with pytest.raises(ValueError, match="not finite"):
        to_pixels(torch.full((1, 2, 2), value))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n, columns", [(1, 1), (5, 3), (6, 3), (2, 4)])
def test_a_sheet_lays_images_out_in_rows(n, columns, channels):
    images = normal(n, channels, 4, 5, dtype=torch.float32).tanh()
    page = sheet(images, columns, pad=2)
    rows = math.ceil(n / columns)
    assert page.shape[:2] == (6 * rows - 2, 7 * columns - 2)
    covered = torch.zeros(page.shape[:2], dtype=torch.bool)
    for i in range(n):
        y, x = 6 * (i // columns), 7 * (i % columns)
        part = page[y : y + 4, x : x + 5]
        assert torch.equal(part, to_pixels(images)[i])
        covered[y : y + 4, x : x + 5] = True
    assert (page[~covered] == 1).all()  # white between them


def test_png_is_the_same_bytes_each_time_and_closes_its_figure():
    first = png(curve())
    assert first == png(curve())
    assert plt.get_fignums() == []
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG" and "Software" not in image.info
        # white-backed, so that it is legible in dark mode
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_svg_is_the_same_bytes_each_time():
    def svg():
        buffer = io.BytesIO()
        curve().savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()

    assert svg() == svg()


def test_an_image_grid_draws_its_images_and_labels():
    images = normal(6, 1, 4, 4).tanh()
    fig = image_grid(
        images, 3, row_labels=["a", "b"], column_labels=["x", "y", "z"]
    )
    ax = fig.axes[0]
    drawn = ax.images[0].get_array()
    assert np.array_equal(drawn, sheet(images, 3).numpy())
    # grey means the same in each picture
    assert ax.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y", "z"]
    # labels stand at the middles of 4-pixel images, 6 apart
    assert ax.get_yticks().tolist() == [1.5, 7.5]
    assert ax.get_xticks().tolist() == [1.5, 7.5, 13.5]
    wide = image_grid(images, 3, scale=2.0)
    assert wide.get_figwidth() == pytest.approx(2 * fig.get_figwidth())
    assert len(wide.axes[0].get_yticks()) == 0


def test_the_palette_is_okabe_and_itos():
    colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    assert colours[0] == figures.BLUE == "#0072B2"
    assert len(set(colours)) == 7
