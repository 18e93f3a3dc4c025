"""One safetensors file holds a run: weights, their average, Adam, settings.

No pickle is ever written or read. A file is written beside its name and then
renamed, so that a kill at any moment leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "ddim-edu-1"
State = dict[str, Tensor]


def save(path: Path, groups: dict[str, State], meta: dict) -> None:
    """Write ``groups`` of named tensors and JSON-able ``meta``, atomically."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, state in groups.items()
        for name, tensor in state.items()
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    header = {"format": FORMAT, "meta": json.dumps(meta, sort_keys=True)}
    save_file(tensors, part, metadata=header)
    os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def load(path: Path) -> tuple[dict[str, State], dict]:
    """Read what ``save`` wrote.

    Raises
    ------
    ValueError
        If the file is damaged or is not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ValueError(
                    f"{path} is not a {FORMAT} checkpoint (format "
                    f"{header.get('format')!r})"
                )
            groups: dict[str, State] = {}
            for key in file.keys():
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return groups, json.loads(header["meta"])


def adam_state(optimizer: torch.optim.Adam, names: list[str]) -> State:
    """Adam's two moments as tensors named like the weights."""
    out = {}
    params = optimizer.param_groups[0]["params"]
    for name, p in zip(names, params, strict=True):
        if p in optimizer.state:
            out[f"m.{name}"] = optimizer.state[p]["exp_avg"]
            out[f"v.{name}"] = optimizer.state[p]["exp_avg_sq"]
    return out


def restore_adam(
    optimizer: torch.optim.Adam, names: list[str], state: State, step: int
) -> None:
    """Put back what ``adam_state`` took out, after ``step`` updates."""
    params = optimizer.param_groups[0]["params"]
    for name, p in zip(names, params, strict=True):
        optimizer.state[p] = {
            "step": torch.tensor(float(step)),
            "exp_avg": state[f"m.{name}"].to(p).clone(),
            "exp_avg_sq": state[f"v.{name}"].to(p).clone(),
        }
