"""Published weights load into our network, whole, unharmed, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading

import pytest
import torch
from laws import from_diffusers
from safetensors.torch import load_file, save_file

from ddim_edu import (
    Schedule,
    eps_from_published,
    hub,
    load_published,
    published,
    sample,
)
from ddim_edu.published import CATALOGUE, Published
from ddim_edu.translation import TODAY, convert, empty, key_map
from ddim_edu.unet import CIFAR10, UNet, UNetConfig

DDIMPipeline, DDIMScheduler, UNet2DModel = from_diffusers(
    "DDIMPipeline", "DDIMScheduler", "UNet2DModel"
)

pytestmark = pytest.mark.filterwarnings("ignore")

# The config.json of the hub, field by field, where it shapes the network.
COMMON = {
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "downsample_padding": 0,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "attention_head_dim": None,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
}
DOWN, UP = "DownBlock2D", "UpBlock2D"
HUB_32 = COMMON | {
    "sample_size": 32,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": (DOWN, f"Attn{DOWN}", DOWN, DOWN),
    "up_block_types": (UP, UP, f"Attn{UP}", UP),
}
HUB_256 = COMMON | {
    "sample_size": 256,
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "down_block_types": (DOWN,) * 4 + (f"Attn{DOWN}", DOWN),
    "up_block_types": (UP, f"Attn{UP}") + (UP,) * 4,
}


def at_widths(config: dict, channels: tuple, size: int = 32):
    """The same architecture at other widths, theirs and ours."""
    theirs = config | {"block_out_channels": channels, "sample_size": size}
    ours = UNetConfig(
        image_channels=theirs["in_channels"],
        channels=channels,
        blocks=theirs["layers_per_block"],
        attention=tuple("Attn" in b for b in theirs["down_block_types"]),
        groups=theirs["norm_num_groups"],
    )
    return theirs, ours


NARROW_32 = at_widths(HUB_32, (32, 64, 64, 64), 16)
NARROW_256 = at_widths(HUB_256, (32, 32, 64, 64, 96, 96), 32)


def theirs(config: dict, seed: int = 0) -> UNet2DModel:
    """Their network with random weights, in the norms and biases too."""
    torch.manual_seed(seed)
    net = UNet2DModel(**config).eval().requires_grad_(False)
    for p in net.parameters():
        if p.ndim == 1:
            p.add_(0.1 * torch.randn_like(p))
    return net


def ours(net: UNet2DModel, config: UNetConfig) -> UNet:
    twin = empty(config)
    twin.load_state_dict(convert(net.state_dict(), config), assign=True)
    return twin.eval().requires_grad_(False)


def as_published(state: dict) -> dict:
    """Today's names of the attention's weights as the hub spells them."""
    out = {}
    for key, value in state.items():
        for old, new in TODAY.items():
            key = key.replace(new, old)
        out[key] = value.contiguous()
    return out


# Parity


@torch.no_grad()
def apart(net: UNet2DModel, twin: UNet, size: int, batch: int) -> float:
    x = torch.randn(batch, 3, size, size)
    t = torch.linspace(999, 0, batch).long()
    answer = net(x, t).sample
    assert answer.abs().max() > 0.1  # they say something
    return float((twin(x, t) - answer).abs().max())


def test_the_whole_cifar10_network_is_theirs():
    net = theirs(HUB_32)
    assert sum(p.numel() for p in net.parameters()) == 35_746_307
    assert apart(net, ours(net, CIFAR10), 32, 1) < 1e-5


@pytest.mark.parametrize(
    ("configs", "size"),
    [(NARROW_256, 32), (NARROW_256, 64), (NARROW_256, 96),
     (NARROW_32, 8), (NARROW_32, 16), (NARROW_32, 24)],
)  # fmt: skip
def test_narrow_networks_are_theirs_at_any_size(configs, size):
    net = theirs(configs[0], seed=size)
    assert apart(net, ours(net, configs[1]), size, 2) < 1e-5


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_is_the_published_architecture(name):
    entry = CATALOGUE[name]
    config = HUB_32 if name == "cifar10" else HUB_256
    with torch.device("meta"):
        their_state = UNet2DModel(**config).state_dict()
    state = convert(their_state, entry.config)
    expected = empty(entry.config).state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in expected.items()
    }
    assert entry.size == config["sample_size"]
    millions = sum(v.numel() for v in state.values()) / 1e6
    assert round(millions, 1) == (35.7 if name == "cifar10" else 113.7)


@pytest.mark.parametrize("configs", [NARROW_32, NARROW_256])
def test_every_name_on_either_side_is_used_once(configs):
    with torch.device("meta"):
        their_names = set(as_published(UNet2DModel(**configs[0]).state_dict()))
    keys = key_map(configs[1])
    assert set(keys) == their_names
    assert set(keys.values()) == set(empty(configs[1]).state_dict())
    assert len(set(keys.values())) == len(keys)
    assert sum("query" in key for key in keys) > 2  # as published


def test_both_spellings_of_the_attention_give_the_same_network():
    state = theirs(NARROW_32[0]).state_dict()
    old, new = (convert(s, NARROW_32[1]) for s in (as_published(state), state))
    assert any(".query." in key for key in as_published(state))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in old)


# Sampling


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_sampling_is_theirs(spacing, eta, monkeypatch):
    net = theirs(NARROW_32[0])
    eps_model = eps_from_published(ours(net, NARROW_32[1]))
    # the published scheduler, without its clipping
    pipeline = DDIMPipeline(
        net,
        DDIMScheduler(
            num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02,
            beta_schedule="linear", clip_sample=False, set_alpha_to_one=True,
            timestep_spacing=spacing,
        ),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    states = []  # before the pipeline clamps the last one to [0, 1]
    step = pipeline.scheduler.step

    def record(*args, **kwargs):
        states.append(step(*args, **kwargs))
        return states[-1]

    monkeypatch.setattr(pipeline.scheduler, "step", record)
    pipeline(
        batch_size=2, eta=eta, num_inference_steps=10, output_type="np",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert len(states) == 10
    expected = states[-1].prev_sample
    tau = pipeline.scheduler.timesteps.sort().values + 1

    def run(model):
        g = torch.Generator().manual_seed(0)
        x_T = torch.randn(expected.shape, generator=g)
        return sample(model, Schedule.linear(), x_T, tau, eta, generator=g)

    got = run(eps_model)
    # how far x_0 goes when each answer is off by what parity allows
    floor = float((run(lambda x, t: eps_model(x, t) + 1e-5) - got).abs().max())
    assert float((got - expected).abs().max()) < floor
    # and a time that is off by one is far beyond that
    wrong = run(lambda x, t: eps_model(x, (t + 1).clamp(max=1000)))
    assert float((wrong - expected).abs().max()) > 10 * floor


def test_our_time_t_is_their_time_t_minus_1():
    asked = []
    model = eps_from_published(lambda x, t: asked.append(t.tolist()) or x)
    t = torch.tensor([1, 1000])
    model(torch.zeros(2, 1), t)
    assert asked == [[0, 999]] and t.tolist() == [1, 1000]


# Bad weights


def spoil(state: dict, how: str) -> dict:
    state = dict(state)
    first = "conv_in.weight"
    if how == "missing":
        del state[first]
    elif how == "unexpected":
        state["conv_in.scale"] = torch.ones(1)
    elif how == "shape":
        state[first] = state[first].transpose(0, 1).contiguous()
    elif how == "kind":
        state[first] = state[first].to(torch.int8)
    elif how == "mixed":
        key = "mid_block.attentions.0.query.weight"
        state["mid_block.attentions.0.to_q.weight"] = state.pop(key)
    elif how == "empty":
        state = {}
    return state


BAD = {
    "missing": "missing conv_in.weight",
    "unexpected": "unexpected conv_in.scale",
    "shape": r"conv_in.weight is torch.float32 \(3, 16, 3, 3\), not float",
    "kind": "conv_in.weight is torch.int8",
    "mixed": "missing down_blocks.1.attentions.0.to_q.weight",
    "empty": "missing .*and [0-9]+ more",
}


@pytest.mark.parametrize("how", BAD)
def test_weights_of_another_network_are_refused(how, tiny, tmp_path):
    path = tmp_path / "bad.safetensors"
    save_file(spoil(tiny, how), path)
    with pytest.raises(ValueError, match=f"not the weights.*{BAD[how]}"):
        load_published("tiny", path=path)


def test_a_network_with_labels_has_no_twin():
    with pytest.raises(ValueError, match="without labels"):
        key_map(UNetConfig(classes=3))


# Files


TINY = at_widths(
    COMMON | {
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": (DOWN, f"Attn{DOWN}"),
        "up_block_types": (f"Attn{UP}", UP),
    },
    (16, 24), 8,
)  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A published network of a few thousand weights; its state."""
    entry = Published("someone/tiny", COMMIT, None, TINY[1], 8)
    monkeypatch.setitem(CATALOGUE, "tiny", entry)
    monkeypatch.setenv("DDIM_EDU_CACHE", str(tmp_path / "cache"))
    return as_published(theirs(TINY[0]).state_dict())


@pytest.fixture
def file(tiny, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_file(tiny, path, metadata={"format": "pt"})
    return path


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def test_a_local_file_is_loaded_to_sample_with(file, tiny):
    before = torch.get_rng_state()
    net = load_published("tiny", path=file, sha256=sha256(file.read_bytes()))
    assert torch.equal(torch.get_rng_state(), before)
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    got = net.state_dict()
    for their_name, our_name in key_map(TINY[1]).items():
        assert torch.equal(got[our_name], tiny[their_name])
    assert torch.equal(
        load_published("tiny", path=str(file)).enter.weight, net.enter.weight
    )


def test_halves_become_floats(tiny, tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({k: v.half() for k, v in tiny.items()}, path)
    net = load_published("tiny", path=path)
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_the_hash_is_checked_before_the_file_is_read(file, monkeypatch):
    monkeypatch.setattr(published, "load", None)  # reading would fail
    with pytest.raises(ValueError, match="SHA-256 .*expected 000000000000"):
        load_published("tiny", path=file, sha256="0" * 64)


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_a_truncated_file_is_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match="tiny.safetensors is damaged"):
        load_published("tiny", path=file)


@pytest.mark.parametrize("ending", [".bin", ".pt", ".ckpt", ".pth", ""])
def test_a_pickle_is_refused_by_its_name(tiny, tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    torch.save(tiny, path)
    with pytest.raises(ValueError, match="not a .safetensors.*pickle.*run"):
        load_published("tiny", path=path)


def test_a_pickle_under_another_name_is_not_run(tiny, tmp_path):
    path = tmp_path / "weights.safetensors"
    torch.save(tiny, path)
    with pytest.raises(ValueError, match="damaged"):
        load_published("tiny", path=path)


def test_what_is_not_there_is_said(tiny, tmp_path):
    with pytest.raises(ValueError, match="no weights 'mnist'.*'cifar10'"):
        load_published("mnist")
    with pytest.raises(FileNotFoundError, match="not there.*someone/tiny"):
        load_published("tiny", path=tmp_path / "none.safetensors")


def test_the_documented_conversion_of_a_pickle_works(tiny, tmp_path):
    net = theirs(TINY[0])
    net.save_config(tmp_path / "hub")
    torch.save(tiny, tmp_path / "hub" / "diffusion_pytorch_model.bin")
    again = UNet2DModel.from_pretrained(tmp_path / "hub")
    again.save_pretrained(tmp_path / "mine")
    path = tmp_path / "mine" / hub.FILE
    assert any(".to_q." in key for key in load_file(path))  # today's names
    assert apart(net, load_published("tiny", path=path), 8, 2) < 1e-5


# The hub, played by a server on this machine


class Hub(http.server.ThreadingHTTPServer):
    """Serves ``pages`` (path to bytes) and notes what is asked of it."""

    def __init__(self):
        self.pages, self.asked = {}, []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path.split("/")[3])
        page = self.server.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        self.send_header("Content-Length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *args):
        pass


@pytest.fixture
def server(file, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(hub, "HUB", url)
    raw = file.read_bytes()
    server.pages = {
        f"/someone/tiny/raw/{COMMIT}/{hub.FILE}": pointer(raw),
        f"/someone/tiny/resolve/{COMMIT}/{hub.FILE}": raw,
    }
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def pointer(raw: bytes) -> bytes:
    return (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{sha256(raw)}\nsize {len(raw)}\n"
    ).encode()


def replace(server: Hub, kind: str, page: bytes | None) -> None:
    server.pages[f"/someone/tiny/{kind}/{COMMIT}/{hub.FILE}"] = page


def cached(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache").glob("*"))


def test_a_download_is_held_to_the_hubs_pointer_and_locked(
    server, file, tmp_path
):
    net = load_published("tiny")
    assert server.asked == ["raw", "resolve"]
    name = "someone--tiny-0123456789ab"
    assert cached(tmp_path) == [f"{name}.safetensors", f"{name}.sha256"]
    lock = (tmp_path / "cache" / f"{name}.sha256").read_text()
    digest = sha256(file.read_bytes())
    assert lock == f"{digest}  {name}.safetensors\n"  # sha256sum -c reads it
    # from now on neither the network nor what the hub says matters
    server.pages.clear()
    again = load_published("tiny")
    assert server.asked == ["raw", "resolve"]
    assert torch.equal(net.enter.weight, again.enter.weight)


def test_the_lock_outlives_the_file(server, tiny, tmp_path):
    load_published("tiny")
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    path.unlink()
    other = path.with_name("other")
    save_file({k: v + 1 for k, v in tiny.items()}, other)
    raw = other.read_bytes()
    other.unlink()
    replace(server, "raw", pointer(raw))  # moved, on the hub, as a whole
    replace(server, "resolve", raw)
    with pytest.raises(ValueError, match="does not match the known hash"):
        load_published("tiny")
    assert not path.exists()


def test_a_file_changed_in_the_cache_is_refused(server, tmp_path):
    load_published("tiny")
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="SHA-256.*delete it"):
        load_published("tiny")
    assert server.asked == ["raw", "resolve"]  # not mended behind one's back


def test_a_download_that_is_not_what_the_hub_states_is_not_kept(
    server, tmp_path
):
    replace(server, "resolve", b"something else")
    with pytest.raises(ValueError, match="does not match the known hash"):
        load_published("tiny")
    assert cached(tmp_path) == []


def test_a_page_that_is_no_pointer_is_refused(server, tmp_path):
    replace(server, "raw", b"<!doctype html><title>Please log in</title>")
    with pytest.raises(ValueError, match="not a Git LFS pointer: '<!doctype"):
        load_published("tiny")
    assert server.asked == ["raw"] and cached(tmp_path) == []


def test_your_own_hash_comes_first(server, file, tmp_path):
    with pytest.raises(ValueError, match="does not match the known hash"):
        load_published("tiny", sha256="0" * 64)
    assert server.asked == ["resolve"] and cached(tmp_path) == []
    digest = sha256(file.read_bytes()).upper()
    load_published("tiny", sha256=digest)  # the hub is not asked for one
    assert server.asked == ["resolve"] * 2
    load_published("tiny")
    assert server.asked == ["resolve"] * 2
    with pytest.raises(ValueError, match="SHA-256.*expected 0000"):
        load_published("tiny", sha256="0" * 64)


def test_a_download_is_held_to_the_catalogues_hash(
    server, file, monkeypatch, tmp_path
):
    def pin(digest):
        entry = dataclasses.replace(CATALOGUE["tiny"], sha256=digest)
        monkeypatch.setitem(CATALOGUE, "tiny", entry)

    pin("0" * 64)
    with pytest.raises(ValueError, match="does not match the known hash"):
        load_published("tiny")
    assert cached(tmp_path) == []
    pin(sha256(file.read_bytes()))
    load_published("tiny")
    assert server.asked == ["resolve"] * 2  # the hub is not asked for one


def test_a_repository_with_a_pickle_alone_says_so(server, tmp_path):
    server.pages.clear()
    with pytest.raises(FileNotFoundError, match="HTTP 404") as caught:
        load_published("tiny")
    message = str(caught.value)
    assert f"/someone/tiny/raw/{COMMIT}/{hub.FILE}" in message
    assert "only a .bin" in message and "path=" in message
    assert cached(tmp_path) == []


def test_offline_the_reader_is_told_what_to_do(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub, "HUB", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(FileNotFoundError, match="ConnectionError") as caught:
        load_published("tiny")
    message = str(caught.value)
    assert "http://127.0.0.1:9/someone/tiny" in message
    assert hub.FILE in message and "path=" in message
    assert cached(tmp_path) == []
