"""Files from elsewhere: downloaded once, and held to their hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_dir() -> str:
    """Where downloads are kept: $DDIM_EDU_CACHE, or the system's place."""
    import pooch  # only here: most readers never download anything

    return os.environ.get("DDIM_EDU_CACHE") or str(pooch.os_cache("ddim_edu"))


def fetch(
    url: str,
    known_hash: str | None,
    advice: str,
    fname: str | None = None,
    folder: str | Path | None = None,
) -> Path:
    """Download once, checked against ``known_hash``, or say what to do.

    Parameters
    ----------
    known_hash
        "sha256:..." or "md5:..."; None accepts whatever arrives.
    advice
        Ends the text of the error, if nothing arrives.
    fname
        Name of the file; without it pooch makes one from the address.
    folder
        Where it is kept; without it, `cache_dir`.

    Raises
    ------
    ValueError
        If what arrives is not what the hash says; it is not kept.
    FileNotFoundError
        If nothing arrives.
    """
    import pooch

    path = folder or cache_dir()
    try:
        return Path(pooch.retrieve(url, known_hash, fname=fname, path=path))
    except OSError as error:  # requests' errors are OSErrors too
        answer = getattr(error, "response", None)
        why = type(error).__name__
        if answer is not None:
            why = f"HTTP {answer.status_code}"
        raise FileNotFoundError(
            f"could not download {url} ({why}). {advice}"
        ) from error


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def checked(path: Path, expected: str | None) -> bytes:
    """The bytes of a file, once its SHA-256 is the expected one.

    Raises
    ------
    ValueError
        If it is another; None expects nothing.
    """
    raw = path.read_bytes()
    found = sha256(raw)
    if expected is not None and found != expected.lower():
        raise ValueError(
            f"{path}: SHA-256 {found[:12]}..., expected {expected[:12]}...: "
            "damaged, or another file; if it is damaged, delete it"
        )
    return raw
