"""The shipped networks and classifiers are what their cards say."""

from __future__ import annotations

import math

import pytest
import torch

from ddim_edu import (
    Schedule,
    checkpoint,
    face_traits,
    fashion_mnist,
    latents,
    load_classifier,
    load_network,
    load_unet,
    loss_log,
    pixel_faces,
    predict_x0,
    pretrained,
    validation_loss,
)
from ddim_edu.classifier import HEADS, Classifier, fit
from ddim_edu.pretrained import NETWORKS, SHAPES, SHIPPED
from ddim_edu.recipe import RECIPES, Settings

each_network = pytest.mark.parametrize("name", NETWORKS)
each_shipped = pytest.mark.parametrize("name", SHIPPED)


@each_shipped
def test_the_settings_are_those_of_the_recipe(name):
    """One documented command made it."""
    _, meta = load_unet(name)
    stored = Settings.from_json(meta["settings"])
    assert stored == RECIPES[name]
    assert meta["step"] == stored.steps


@each_shipped
def test_the_loss_log_is_whole(name):
    steps, losses = loss_log(name)
    assert steps[-1] == RECIPES[name].steps
    assert steps == list(range(50, steps[-1] + 1, 50))
    assert all(math.isfinite(loss) for loss in losses)
    # it learned: |F - v|^2 of a network that says 0 is near 1; a run that
    # starts from a trained network has learned that already
    assert losses[-1] < (1 if RECIPES[name].start else losses[0]) / 3


@each_shipped
def test_the_network_has_its_stored_loss(name):
    """Another machine's float32 rounds otherwise, far below this."""
    stored = load_unet(name)[1]["validation"]
    assert validation_loss(load_network(name), name) == pytest.approx(
        stored, rel=1e-3
    )


@each_network
def test_the_network_is_a_noise_predictor(name):
    model, x = load_network(name), latents([0, 1], SHAPES[name])
    t = torch.tensor([3, 900])
    eps = model(x, t)
    assert eps.shape == x.shape and eps.dtype == torch.float32
    assert not eps.requires_grad
    one = model(x[1:], t[1:])
    assert (eps[1:] - one).abs().max() < 1e-4  # a sample is on its own


@each_network
def test_at_T_the_guess_is_tame(name):
    """A v-core can't blow x0_hat up where alpha_T is 4e-5."""
    schedule, x = Schedule.linear(), latents(range(16), SHAPES[name])
    eps = load_network(name)(x, torch.full((16,), 1000))
    guess = predict_x0(x, eps, schedule.alpha[1000])
    assert guess.abs().max() < 2


@pytest.mark.parametrize(
    ("call", "kind"), [(load_network, "network"), (load_classifier, "class")]
)
def test_an_unknown_name_is_refused(call, kind):
    with pytest.raises(ValueError, match=f"no {kind}.* 'mnist'"):
        call("mnist")


def test_a_run_is_packed_as_halves_with_its_log(tmp_path):
    """pack: float16 weights, settings, validation, means of 50 losses."""
    groups, meta = checkpoint.load(
        pretrained.data_dir() / "pixel-faces.safetensors"
    )
    groups["log"] = {"loss": torch.arange(100.0)}
    checkpoint.save(tmp_path / "run" / "checkpoint.safetensors", groups, meta)
    pretrained.pack(tmp_path / "run", tmp_path)
    packed, again = checkpoint.load(tmp_path / "pixel-faces.safetensors")
    assert all(v.dtype == torch.float16 for v in packed["ema"].values())
    assert again["settings"] == meta["settings"]
    text = (tmp_path / "pixel-faces-loss.csv").read_text()
    assert text == "step,loss\n50,24.500000\n100,74.500000\n"


# Classifiers


def test_classifiers_know_their_pictures():
    images, labels = fashion_mnist("test")
    guess = load_classifier("fashion-mnist").predict(images[:1000])[:, 0]
    assert (guess == labels[:1000]).double().mean() > 0.87
    guess = load_classifier("pixel-faces").predict(pixel_faces()[:1000])
    right = (guess == face_traits()[:1000]).double().mean(0)
    assert (right > 0.88).all()
    assert (right[[0, 3, 4, 5]] > 0.98).all()  # background ... glasses, hat


def test_features_are_64_and_cut_off_what_is_no_picture():
    judge = load_classifier("pixel-faces")
    x = pixel_faces()[:3]
    assert judge.features(x).shape == (3, 64)
    assert torch.equal(
        judge.features(3 * x), judge.features((3 * x).clamp(-1, 1))
    )
    whole, parts = judge.features(x), judge.features(x, batch=1)
    assert (whole - parts).abs().max() < 1e-4


def test_a_classifier_learns_from_a_few_faces():
    images, traits = pixel_faces()[:256], face_traits()[:256]
    net = fit(images, traits, HEADS["pixel-faces"], steps=60)
    glasses = (net.predict(images)[:, 4] == traits[:, 4]).double().mean()
    always_no = (traits[:, 4] == 0).double().mean()
    assert glasses > always_no + 0.05
    assert isinstance(net, Classifier)
    assert [len(logits[0]) for logits in net(images[:1])] == list(
        HEADS["pixel-faces"]
    )
