"""Empty modules for what a peer imports but its sampler never calls.

Some peers import image and logging packages at the top. A package that is
not installed gets an empty module here, so that a peer's own files are loaded
as they are. Its names can be imported and made, but whatever uses one fails:
a stand-in in the way of a sampler is an error, not a result.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

NAMES = (
    "clip", "cleanfid", "dctorch", "ema_pytorch", "gdown", "jsonmerge",
    "kornia", "pytorch_fid", "skimage", "torchdiffeq", "torchsde",
    "torchvision", "wandb",
)  # fmt: skip


def named(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return Meta(name, (), {"__init__": accept, "__call__": refuse})


def accept(self, *_: object, **__: object) -> None:
    pass


def refuse(self, *_: object, **__: object) -> None:
    raise RuntimeError(f"{type(self).__name__} is a stand-in")


class Meta(type):
    """A class whose attributes are stand-ins too."""

    def __getattr__(cls, name: str) -> type:
        return named(name)


class StandIn(ModuleType):
    """A module in which every name is there."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        return named(name)


class Finder:
    """Finds the stand-ins, and nothing else."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path=None, target=None):
        if name.split(".")[0] in self.names:
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> StandIn:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> tuple[str, ...]:
    """Stand in for what is not installed; return whose names these are."""
    absent = tuple(n for n in NAMES if find_spec(n) is None)
    sys.meta_path.append(Finder(set(absent)))
    return absent
