"""Pack the pixel faces into one small file.

node data/make_pixel_faces.mjs | python data/make_pixel_faces.py

The first 3,000 faces are for testing, the 30,000 others for training.
"""

import base64
import json
import sys
from pathlib import Path

import numpy as np

faces = [json.loads(line) for line in sys.stdin]
if len(faces) != 33_000:
    raise SystemExit(f"{len(faces)} faces, expected 33,000")
pixels = np.stack(
    [np.frombuffer(base64.b64decode(f["rgb"]), np.uint8) for f in faces]
).reshape(-1, 16, 16, 3)
distinct = len(np.unique(pixels.reshape(len(pixels), -1), axis=0))
if distinct != len(pixels):
    raise SystemExit(f"only {distinct} of {len(pixels)} faces are distinct")


def colour(name: str) -> np.ndarray:
    """The number of each face's colour in the sorted list of all of them."""
    return np.unique([f["traits"][name] for f in faces], return_inverse=True)[
        1
    ]


def present(name: str) -> np.ndarray:
    """Whether each face has the part at all."""
    return np.array([name in f["traits"] for f in faces])


traits = np.stack(
    [
        colour("primaryBackgroundColor"),
        colour("skinColor"),
        colour("hairColor"),
        colour("clothingColor"),
        present("glasses"),
        present("hat"),
        present("beard"),
    ],
    axis=1,
).astype(np.uint8)
np.savez_compressed(
    Path(__file__).with_name("pixel-faces.npz"),
    test=pixels[:3000],
    train=pixels[3000:],
    test_traits=traits[:3000],
    train_traits=traits[3000:],
)
