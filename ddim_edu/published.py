"""Ho et al.'s published DDPM weights in our U-Net (D.1).

The Hugging Face hub has them in the format of diffusers. All predict eps on
Ho's linear betas, 1e-4 to 0.02 in 1000 steps, at times counted 0..999. (Their
scheduler also clips x0_hat to [-1, 1]. Its noise is "fixed_large" for
CIFAR-10, which is our sigma-hat, and "fixed_small" for the others, our eta =
1.)

A ``.bin`` is a pickle, which can run code when it is read, and is never read
here. Where a repository or a folder in that format holds nothing else, let
diffusers convert it, which reads it with ``weights_only``, and pass the
``.safetensors`` that it writes as ``path``::

    from diffusers import UNet2DModel

    net = UNet2DModel.from_pretrained("folder")  # or a name and revision=
    net.save_pretrained("converted")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from .files import checked
from .hub import advice, cached
from .oracle import EpsModel
from .translation import convert, empty
from .unet import CIFAR10, UNet, UNetConfig


@dataclass(frozen=True)
class Published:
    """One set of weights on the hub."""

    repository: str
    revision: str  # a commit, or a branch, which may move
    sha256: str | None  # None: asked of the hub, see load_published
    config: UNetConfig
    size: int  # of its images, in pixels


LARGE = UNetConfig(
    image_channels=3,
    channels=(128, 128, 256, 256, 512, 512),
    blocks=2,
    attention=(False, False, False, False, True, False),  # at 16 x 16
    groups=32,
)
# Of CIFAR-10 the commit is the one that many public projects pin, and the
# SHA-256 is what the hub's page of the file states for that commit; a public
# project pins both. For the others none was found. Ho et al. and the DDIM
# paper measure averaged weights, "ema" in a name. Those of CIFAR-10 here are
# not, by a comment on the hub (google/ddpm-cifar10-32, discussion 10), where
# people got an FID of 12.4 for 3.17. For Table 1 pass averaged ones as path.
CATALOGUE = {
    "cifar10": Published(
        "google/ddpm-cifar10-32",
        "267b167dc01f0e4e61923ea244e8b988f84deb80",
        "1558dbe3fb093b0857d473e376b711eeda1b186c557be5e85b3a56300cd49f0f",
        CIFAR10,
        32,
    ),
    **{
        name: Published(f"google/ddpm-ema-{name}", "main", None, LARGE, 256)
        for name in ("bedroom-256", "celebahq-256", "church-256")
    },
}


def load_published(
    name: str,
    *,
    path: str | Path | None = None,
    sha256: str | None = None,
    device: str = "cpu",
) -> UNet:
    """A published network, in evaluation mode, without gradients.

    Parameters
    ----------
    name
        A key of ``CATALOGUE``.
    path
        A ``.safetensors`` file of yours, in diffusers' format. Without it,
        the weights are downloaded once (143 MB, 455 MB for 256 x 256) to a
        cache.
    sha256
        What the file must have. Without it, ``path`` is trusted, and a
        download is held to the SHA-256 in ``CATALOGUE``. Where there is none,
        a first download is compared with the SHA-256 that the hub itself
        states for that file; it is then written beside the file, in the
        format of ``sha256sum``, and every later load is held to it. That
        finds a transfer gone wrong and any change after the first download.
        It does not find weights replaced on the hub before that; this digest
        of yours, from a source you trust, does. No file can run code.
    device
        Where the network shall live.

    Returns
    -------
    UNet
        It counts times 0..999: sample with `eps_from_published`.

    Raises
    ------
    ValueError
        If there is no such name, or the file is damaged, not what its hash
        says, not of this network, or not a ``.safetensors``.
    FileNotFoundError
        If the file is nowhere and cannot be downloaded.
    """
    if name not in CATALOGUE:
        raise ValueError(f"no weights {name!r}; there are {list(CATALOGUE)}")
    entry = CATALOGUE[name]
    if path is None:
        raw = cached(entry.repository, entry.revision, sha256 or entry.sha256)
    else:
        if Path(path).suffix != ".safetensors":
            raise ValueError(
                f"{path} is not a .safetensors file; a .bin, .pt or .ckpt is "
                "a pickle, which can run code when it is read. Convert it: "
                "see ddim_edu.published"
            )
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{path} is not there. {advice(entry.repository)}"
            )
        raw = checked(Path(path), sha256)
    try:
        state = load(raw)
    except SafetensorError as error:
        where = path or entry.repository
        raise ValueError(f"{where} is damaged: {error}") from error
    net = empty(entry.config)
    net.load_state_dict(convert(state, entry.config), assign=True)
    return net.to(device).eval().requires_grad_(False)


def eps_from_published(net: nn.Module) -> EpsModel:
    """A published network as our predictor: at our t it is asked at t - 1."""

    def eps_model(x_t: Tensor, t: Tensor) -> Tensor:
        return net(x_t, t - 1)

    return eps_model
