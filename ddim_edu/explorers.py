"""Sliders: one that lives in the static page, one that needs a kernel."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image

from .figures import png, with_palette
from .guards import check_whole

_SCRIPT = """(()=>{const r=document.getElementById(%s);if(!r)return;
const f=JSON.parse(r.querySelector('.ddim-data').textContent),
g=r.querySelector('img'),s=r.querySelector('input'),
o=r.querySelector('output'),b=r.querySelector('button');let t=0;
const show=()=>{const i=+s.value;g.src='data:image/png;base64,'+f.png[i];
g.alt=f.alt[i];o.value=f.text[i];s.setAttribute('aria-valuetext',f.text[i])},
stop=()=>{clearInterval(t);t=0;b.textContent='Play'};
s.oninput=()=>{stop();show()};
b.onclick=()=>{if(t)return stop();if(+s.value>=+s.max)s.value=0;show();
b.textContent='Pause';t=setInterval(()=>{if(+s.value>=+s.max)return stop();
s.value=+s.value+1;show()},f.ms)};
r.querySelector('.ddim-controls').hidden=false;show()})();"""


def explore(
    draw: Callable[[Any], Figure],
    values: Sequence[Any],
    *,
    name: str,
    label: str,
    alt: Callable[[Any], str],
    text: Callable[[Any], str] = str,
    start: int = 0,
    interval_ms: int = 250,
    colours: int = 64,
) -> HTML:
    """A slider over ``draw(value)`` for each of ``values``, all drawn now.

    The output is plain HTML: it moves in the static book, in Jupyter and on
    Colab, with no kernel and no network, and is the same bytes on each run.

    Parameters
    ----------
    draw
        Makes one figure; all must have the same size.
    name
        Unique in its chapter.
    label
        What the slider changes.
    alt, text
        From a value: the picture in words, and what stands beside the slider.
    start
        Index of the value shown first (the only one where scripts are off).
    interval_ms
        Time between frames while playing.
    colours
        Size of the palette that the frames are reduced to; this keeps the
        notebook small.
    """
    values = list(values)
    if not values:
        raise ValueError("an explorer needs at least one value")
    if not 0 <= start < len(values):
        raise ValueError(f"start must be in 0..{len(values) - 1}, got {start}")
    check_whole(colours, "colours", 1, 256)
    frames = []
    for value in values:
        picture = _quantise(png(draw(value)), colours)
        frames.append(base64.b64encode(picture).decode())
    alts = [alt(value) for value in values]
    data = {
        "png": frames,
        "alt": alts,
        "text": [text(value) for value in values],
        "ms": interval_ms,
    }
    packed = _json(data)
    uid = f"ddim-{name}"
    return HTML(
        f'<div class="ddim-frames" id="{html.escape(uid)}"'
        ' data-lm-suppress-shortcuts="true">'
        f'<img alt="{html.escape(alts[start])}" style="max-width:100%"'
        f' src="data:image/png;base64,{frames[start]}">'
        '<div class="ddim-controls" hidden>'
        f'<button type="button">Play</button> <label>{html.escape(label)} '
        f'<input type="range" min="0" max="{len(values) - 1}" '
        f'value="{start}"></label> <output></output></div>'
        f'<script type="application/json" class="ddim-data">{packed}</script>'
        f"<script>{_SCRIPT % _json(uid)}</script></div>"
    )


def live(draw: Callable[..., Figure], **controls: Any) -> Any:
    """Sliders that call ``draw`` in a running notebook (ipywidgets).

    ``controls`` are ipywidgets' abbreviations: ``eta=(0.0, 1.0, 0.1)`` is a
    slider, a list of names a menu. In the static book there is no kernel to
    answer, so the cell says what a reader gets by running it.
    """
    if os.environ.get("DDIM_EDU_STATIC"):
        print("▶ Run this cell in Jupyter or on Colab for live sliders.")
        return None
    import ipywidgets
    from IPython.display import display

    def show(**values: Any) -> None:
        picture = png(draw(**values))
        display(HTML(_img(picture)))

    return ipywidgets.interactive(show, **controls)


def _img(picture: bytes) -> str:
    data = base64.b64encode(picture).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'


def _json(value: Any) -> str:
    """JSON for the inside of a script element, where "<" could end it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _quantise(picture: bytes, colours: int) -> bytes:
    """The PNG with a palette."""
    buffer = io.BytesIO()
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    with_palette(whole, colours).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
