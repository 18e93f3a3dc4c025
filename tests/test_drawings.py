"""Laws of the drawn pictures: the right images, or a clear no."""

import hashlib

import numpy as np
import pytest
import torch

from ddim_edu import data, data_dir, drawings
from ddim_edu.drawings import FACE_TRAITS, emoji, face_traits, pixel_faces

# Faces


def test_the_faces_are_the_packed_ones():
    for split, n in (("train", 30_000), ("test", 3_000)):
        images = pixel_faces(split)
        assert images.shape == (n, 3, 16, 16)
        assert images.dtype == torch.float32
        assert images.min() >= -1 and images.max() <= 1
        pixels = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
        digest = hashlib.sha256(pixels.contiguous().numpy().tobytes())
        assert digest.hexdigest() == data.CONTENT[f"pixel-faces-{split}"]


def test_no_test_face_is_a_training_face():
    both = torch.cat([pixel_faces("train"), pixel_faces("test")])
    assert len(both.flatten(1).unique(dim=0)) == 33_000


def test_traits_are_numbers_of_known_choices():
    for split in ("train", "test"):
        traits = face_traits(split)
        assert traits.dtype == torch.int64
        assert traits.shape == (len(pixel_faces(split)), len(FACE_TRAITS))
        most = traits.amax(0) + 1
        assert most.tolist() == list(FACE_TRAITS.values())


def test_the_background_trait_is_the_colour_of_the_corner():
    """The first column against the picture itself."""
    corner = pixel_faces("test")[:, :, 0, 0]
    traits = face_traits("test")[:, 0]
    of_trait = {}
    for colour, trait in zip(corner.tolist(), traits.tolist(), strict=True):
        of_trait.setdefault(trait, []).append(tuple(colour))
    # hair reaches the corner of a few faces, never of most
    common = {max(set(c), key=c.count) for c in of_trait.values()}
    assert len(common) == FACE_TRAITS["background"]
    for colours in of_trait.values():
        most = max(set(colours), key=colours.count)
        assert colours.count(most) > 0.8 * len(colours)


@pytest.mark.parametrize("call", [pixel_faces, face_traits])
def test_an_unknown_split_is_refused(call):
    with pytest.raises(ValueError, match="got 'tes'"):
        call("tes")


@pytest.mark.parametrize("key", ["test", "test_traits"])
def test_a_changed_byte_is_refused(tmp_path, monkeypatch, key):
    with np.load(data_dir() / "pixel-faces.npz") as file:
        arrays = {k: file[k].copy() for k in file}
    arrays[key].reshape(-1)[5] ^= 1
    np.savez(tmp_path / "pixel-faces.npz", **arrays)
    monkeypatch.setattr(drawings, "data_dir", lambda: tmp_path)
    with pytest.raises(ValueError, match="the file is not the original"):
        (pixel_faces if key == "test" else face_traits)("test")


# Emoji


def test_the_emoji_are_the_packed_ones():
    images = emoji()
    assert images.shape == (1631, 3, 32, 32) and images.dtype == torch.float32
    pixels = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    digest = hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
    assert digest == data.CONTENT["emoji-images"]


def test_no_emoji_occurs_twice():
    assert len(emoji().flatten(1).unique(dim=0)) == len(emoji())


def test_emoji_lie_on_white():
    # the first one, a grinning face, is yellow in the middle of a white page
    first = emoji()[0]
    assert (first[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 1).all()
    red, green, blue = first[:, 8, 16]
    assert red > 0.8 and green > 0.4 and blue < 0


@pytest.mark.parametrize("change", ["pixel", "key", "cut"])
def test_a_damaged_emoji_file_is_refused(tmp_path, monkeypatch, change):
    with np.load(data_dir() / "emoji.npz") as file:
        images = file["images"].copy()
    images[3, 4, 5, 0] ^= 1
    copy = tmp_path / "emoji.npz"
    np.savez(copy, **{"other" if change == "key" else "images": images})
    if change == "cut":
        copy.write_bytes(copy.read_bytes()[:999])
    monkeypatch.setattr(drawings, "data_dir", lambda: tmp_path)
    message = (
        "emoji-images: SHA-256"
        if change == "pixel"
        else "emoji.npz is damaged"
    )
    with pytest.raises(ValueError, match=message):
        emoji()
