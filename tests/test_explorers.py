"""Laws of the sliders: plain, safe, the same bytes on each run."""

import base64
import io
import json
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from ddim_edu import explore, live
from ddim_edu.figures import with_palette


def draw(value):
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, 1], [0, float(value)])
    return fig


def slider(values=(0, 1, 3), **changes):
    options = {
        "name": "eta",
        "label": "noise",
        "alt": lambda v: f"a line up to {v}",
    }
    return explore(draw, values, **{**options, **changes}).data


class Page(HTMLParser):
    """What a browser makes of it: elements, and the scripts' text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += text

    def first(self, tag):
        return next(attrs for name, attrs in self.elements if name == tag)


def frames(page):
    return json.loads(page.scripts[0])


def test_the_slider_is_the_same_bytes_each_time():
    assert slider() == slider()


def test_the_slider_holds_a_frame_a_value():
    page = Page(slider(start=1, interval_ms=90, text=lambda v: f"eta {v}"))
    assert page.open == []
    data = frames(page)
    assert data["alt"] == [f"a line up to {v}" for v in (0, 1, 3)]
    assert data["text"] == ["eta 0", "eta 1", "eta 3"] and data["ms"] == 90
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(frame)))
        for frame in data["png"]
    ]
    assert len({picture.size for picture in pictures}) == 1
    assert len(set(data["png"])) == 3
    # without a script the first value is seen
    image, control = page.first("img"), page.first("input")
    assert image["src"] == "data:image/png;base64," + data["png"][1]
    assert image["alt"] == "a line up to 1"
    assert (control["min"], control["max"], control["value"]) == (
        "0", "2", "1",
    )  # fmt: skip


def test_the_page_needs_nothing_from_outside():
    text = slider()
    assert "http" not in text and "src=" in text
    assert plt.get_fignums() == []


def test_fewer_colours_make_a_smaller_page():
    assert len(slider(colours=4)) < len(slider())


def test_each_entry_of_a_palette_is_the_middle_of_its_colours():
    """Else a strong colour that fills a picture shifts as a whole."""
    rng = np.random.default_rng(0)
    tiles = rng.choice([0, 255], (12, 12, 3)).repeat(6, 0).repeat(6, 1)
    rough = (tiles * 0.9 + rng.integers(0, 26, tiles.shape)).astype(np.uint8)
    small = with_palette(Image.fromarray(rough), 16)
    entry, palette = np.asarray(small), np.asarray(small.convert("RGB"))
    for k in np.unique(entry):
        middle = rough[entry == k].mean(0)
        # an entry is an integer, and k-means stops when few pixels move
        assert np.abs(middle - palette[entry == k][0]).max() < 1.5
    # and where there are entries enough, nothing changes at all
    flat = Image.fromarray(tiles.astype(np.uint8))
    assert with_palette(flat, 8).convert("RGB").tobytes() == flat.tobytes()


NASTY = (
    '</script><img src=x onerror="alert(1)"> & "quoted" \'so\' <!--<script>'
)


@pytest.mark.parametrize("where", ["label", "alt", "text", "name"])
def test_any_text_is_text(where):
    change = NASTY if where in ("label", "name") else lambda v: NASTY
    page = Page(slider(**{where: change}))
    # the same elements as in a tame page, and the data still whole
    assert page.open == []
    tame = [tag for tag, _ in Page(slider()).elements]
    assert [tag for tag, _ in page.elements] == tame
    data = frames(page)
    if where in ("alt", "text"):
        assert data[where] == [NASTY] * 3
    if where == "alt":
        assert page.first("img")["alt"] == NASTY
    if where == "name":
        assert page.first("div")["id"] == f"ddim-{NASTY}"
    # HTMLParser forgives what browsers do not: inside a script no tag and
    # no comment may open
    for script in page.scripts:
        assert "</" not in script and "<!--" not in script


def test_the_script_finds_the_slider_by_its_name():
    page = Page(slider(name="eta-2"))
    assert page.first("div")["id"] == "ddim-eta-2"
    assert 'getElementById("ddim-eta-2")' in page.scripts[1]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"values": []}, "at least one value"),
        ({"start": 3}, r"start must be in 0\.\.2, got 3"),
        ({"start": -1}, r"start must be in 0\.\.2, got -1"),
    ],
)
def test_a_slider_with_nothing_to_show_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        slider(**changes)


def test_in_the_static_book_a_live_slider_is_a_line_of_text(
    monkeypatch, capsys
):
    monkeypatch.setenv("DDIM_EDU_STATIC", "1")
    assert live(draw, value=(0.0, 1.0)) is None
    assert capsys.readouterr().out == (
        "▶ Run this cell in Jupyter or on Colab for live sliders.\n"
    )


def test_a_live_slider_draws_when_it_is_moved(monkeypatch, capsys):
    monkeypatch.delenv("DDIM_EDU_STATIC", raising=False)
    drawn = []

    def watched(eta, steps):
        drawn.append((eta, steps))
        return draw(eta)

    widget = live(watched, eta=(0.0, 1.0, 0.1), steps=[10, 50])
    slider, menu = widget.children[:2]
    slider.value = 0.3
    assert drawn[-1] == (pytest.approx(0.3), 10)
    menu.value = 50
    assert drawn[-1] == (pytest.approx(0.3), 50)
    assert plt.get_fignums() == []
