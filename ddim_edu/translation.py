"""Names of weights: those of diffusers' ``UNet2DModel`` and ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .layers import Attention, Block
from .unet import UNet, UNetConfig

# Modules of theirs and of ours, first those outside the blocks.
OUTSIDE = {
    "conv_in": "enter",
    "time_embedding.linear_1": "time.0",
    "time_embedding.linear_2": "time.2",
    "conv_norm_out": "leave_norm",
    "conv_out": "leave",
}
RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "time_emb_proj": "time",
    "norm2": "norm2",
    "conv2": "conv2",
}
ATTENTION = {
    "group_norm": "norm",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "out",
}
# What diffusers writes today for four of them.
TODAY = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}


def key_map(config: UNetConfig) -> dict[str, str]:
    """Their name of each weight, as published, and ours; each name once."""
    if config.classes:
        raise ValueError("only networks without labels have a twin there")
    net = empty(config)
    modules = dict(OUTSIDE)
    for way, sampler in (("down", "downsamplers"), ("up", "upsamplers")):
        level = n = 0
        for i, layer in enumerate(getattr(net, way)):
            if isinstance(layer, Block):
                modules |= _block(layer, f"{way}_blocks.{level}", n, way, i)
                n += 1
            else:
                theirs = f"{way}_blocks.{level}.{sampler}.0.conv"
                modules[theirs] = f"{way}.{i}.conv"
                level, n = level + 1, 0
    for i, layer in enumerate(net.middle):
        modules |= _block(layer, "mid_block", i, "middle", i)
    return {
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for theirs, ours in modules.items()
        for kind in ("weight", "bias")
    }


def _block(layer: Block, theirs: str, n: int, way: str, i: int) -> dict:
    """One block of ours is a resnet of theirs and maybe an attention."""
    ours = f"{way}.{i}"
    out = {
        f"{theirs}.resnets.{n}.{a}": f"{ours}.{b}" for a, b in RESNET.items()
    }
    if isinstance(layer.shortcut, nn.Conv2d):
        out[f"{theirs}.resnets.{n}.conv_shortcut"] = f"{ours}.shortcut"
    if isinstance(layer.attention, Attention):
        for a, b in ATTENTION.items():
            out[f"{theirs}.attentions.{n}.{a}"] = f"{ours}.attention.{b}"
    return out


def empty(config: UNetConfig) -> UNet:
    """The architecture with neither memory nor draws for its weights."""
    with torch.device("meta"):
        return UNet(config)


def convert(state: Mapping[str, Tensor], config: UNetConfig) -> dict:
    """Their weights under our names, float32.

    Raises
    ------
    ValueError
        If a key is missing, unexpected, or of the wrong shape or kind: the
        first nine, by name. Nothing is ever converted in part.
    """
    keys = key_map(config)
    if any(".to_q." in key for key in state):
        for before, after in TODAY.items():
            keys = {k.replace(before, after): v for k, v in keys.items()}
    shapes = {k: v.shape for k, v in empty(config).state_dict().items()}
    wrong = [f"missing {k}" for k in keys if k not in state]
    for key, value in state.items():
        if key not in keys:
            wrong.append(f"unexpected {key}")
        elif value.shape != shapes[keys[key]] or not value.is_floating_point():
            wrong.append(
                f"{key} is {value.dtype} {tuple(value.shape)}, not float "
                f"{tuple(shapes[keys[key]])}"
            )
    if wrong:
        rest = f"; and {len(wrong) - 9} more" if len(wrong) > 9 else ""
        raise ValueError(
            "these are not the weights of this network: "
            f"{'; '.join(wrong[:9])}{rest}"
        )
    return {keys[k]: v.float() for k, v in state.items()}
