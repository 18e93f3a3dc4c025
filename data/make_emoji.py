"""Pack Google's Noto emoji into one small file.

    npm install --no-save --prefix FOLDER emoji-datasource-google@16.0.0
    python data/make_emoji.py FOLDER

Every emoji once, without its skin-tone variants. Left out: the 270 flags,
which come from elsewhere under terms of their own, and the five swatches of
skin colour, which are no pictures. The drawings of 64 x 64 pixels are laid on
white and halved.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SOURCE = Path(sys.argv[1], "node_modules", "emoji-datasource-google")
LEFT_OUT = {"Flags", "Component"}

listed = json.loads((SOURCE / "emoji.json").read_text("utf-8"))
listed.sort(key=lambda emoji: emoji["sort_order"])
images = {}  # a picture's bytes -> the picture, each once
for emoji in listed:
    if emoji["category"] in LEFT_OUT or not emoji["has_img_google"]:
        continue
    path = SOURCE / "img" / "google" / "64" / emoji["image"]
    with Image.open(path) as file:
        drawing = file.convert("RGBA")
    page = Image.new("RGBA", drawing.size, "white")
    page.alpha_composite(drawing)
    small = page.convert("RGB").resize((32, 32), Image.Resampling.BOX)
    images.setdefault(small.tobytes(), np.asarray(small))
if len(images) != 1_631:
    raise SystemExit(f"{len(images)} distinct emoji, expected 1,631")
np.savez_compressed(
    Path(__file__).with_name("emoji.npz"), images=np.stack([*images.values()])
)
