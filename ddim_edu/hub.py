"""One file of the Hugging Face hub, downloaded once and held to its hash."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from .files import cache_dir, checked, fetch

HUB = "https://huggingface.co"
FILE = "diffusion_pytorch_model.safetensors"


def advice(repository: str) -> str:
    """What to do for weights that are not there."""
    return (
        f"Offline? Take {FILE} from {HUB}/{repository} and pass its place as "
        "path=... If only a .bin is there, convert it: see ddim_edu.published"
    )


def cached(repository: str, revision: str, sha256: str | None) -> bytes:
    """The repository's ``FILE``, from the cache or downloaded, checked.

    It is held to ``sha256``; without that, to the lock that the first
    download wrote beside it; without that, to what the hub states.
    """
    name = f"{repository.replace('/', '--')}-{revision[:12]}"
    path = Path(cache_dir()) / f"{name}.safetensors"
    lock = path.with_suffix(".sha256")
    pin = sha256
    if pin is None and lock.exists():
        pin = lock.read_text("utf-8")[:64]
    if pin is None:
        pin = _stated(repository, revision)
    if not path.exists():
        url = f"{HUB}/{repository}/resolve/{revision}/{FILE}"
        known = f"sha256:{pin.lower()}"
        fetch(url, known, advice(repository), path.name)
    raw = checked(path, pin)
    if not lock.exists():
        lock.write_text(f"{pin.lower()}  {path.name}\n", "utf-8")
    return raw


def _stated(repository: str, revision: str) -> str:
    """The SHA-256 in the hub's own pointer to the file (Git LFS)."""
    url = f"{HUB}/{repository}/raw/{revision}/{FILE}"
    with TemporaryDirectory() as folder:
        path = fetch(url, None, advice(repository), "oid", folder)
        text = path.read_bytes()[:1000].decode("utf-8", "replace")
    found = re.search(r"^oid sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"{url} is not a Git LFS pointer: {text[:40]!r}")
    return found[1]
