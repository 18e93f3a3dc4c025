"""The paper's scale, at toy size: all of its code, none of its cost."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import sys
import tarfile
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from laws import LINEAR, normal, two_processes
from safetensors.torch import save_file
from torch import nn

from ddim_edu import (
    checkpoint,
    frechet,
    latents,
    load_network,
    moments,
    pixel_faces,
    reconstruct,
    sample,
    sigma_hat,
    tau_linear,
)
from ddim_edu.cells import Cell, hat_clipped, is_done, split, tau_official
from ddim_edu.subjects import (
    OurJudge,
    fingerprint,
    from_bytes,
    load_subject,
    to_bytes,
)
from ddim_edu.unet import UNet, UNetConfig

pytest.importorskip("accelerate", reason="the command needs accelerate")
pytest.importorskip("torchmetrics", reason="FID needs torchmetrics")

from ddim_edu import atscale, cost, scoring, subjects

FACES = "pixel-faces"
FEW = ["--subject", FACES, "--batch", "8", "--n", "11"]
WHOLE = [*FEW, "--S", "2", "3", "--rows", "0", "hat", "hat-clipped"]


@cache
def faces() -> dict[str, torch.Tensor]:
    sizes = {"train": 100, "test": 7}
    return {split: pixel_faces(split)[:n] for split, n in sizes.items()}


def shrink(monkeypatch) -> None:
    """Few real faces, few test faces, short sheets."""
    monkeypatch.setattr(subjects, "pixel_faces", lambda split: faces()[split])
    monkeypatch.setattr(scoring, "LINE", 3)
    monkeypatch.setattr(atscale, "LINE", 3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, object]:
    """What a run that nobody disturbed leaves."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        command(out, *WHOLE)
    return contents(out)


def command(out: Path, *words: object) -> None:
    atscale.main([*map(str, words), "--out", str(out)])


def contents(out: Path) -> dict[str, object]:
    """Every file: its bytes, or the tensors and words of safetensors.

    Their metadata come in no fixed order.
    """
    found = {}
    for path in sorted(filter(Path.is_file, out.rglob("*"))):
        name, value = str(path.relative_to(out)), path.read_bytes()
        if path.suffix == ".safetensors":
            groups, meta = checkpoint.load(path)
            value = {k: v.tolist() for k, v in groups["batch"].items()}, meta
        found[name] = value
    return found


def batch(path: Path) -> dict:
    return checkpoint.load(path)[0]["batch"]


def test_one_command_makes_the_tables_and_the_sheets(tmp_path, capsys):
    command(tmp_path, *FEW, "--S", "2", "3", "--rows", "0", "0.5")
    table = json.loads((tmp_path / f"{FACES}-table1.json").read_text())
    assert [(c["row"], c["S"], c["n"]) for c in table] == [
        ("0", 2, 11), ("0", 3, 11), ("0.5", 2, 11), ("0.5", 3, 11)
    ]  # fmt: skip
    back = json.loads((tmp_path / f"{FACES}-table2.json").read_text())
    assert [(c["S"], c["n"], c["calls"]) for c in back] == [
        (2, 7, 2), (3, 7, 3)  # there are no more test faces
    ]  # fmt: skip
    # the samples are those of the public sampler, and so are the roads back
    model, tau = load_network(FACES), tau_linear(1000, 3)
    seeds = range(8)
    found = batch(tmp_path / FACES / "S3-0.5-linear" / "0-8.safetensors")
    x_T = latents(seeds, (3, 16, 16))
    x_0 = sample(model, LINEAR, x_T, tau, 0.5, seeds=seeds)
    assert torch.equal(found["images"], to_bytes(x_0))
    x_0 = faces()["test"]
    found = batch(tmp_path / FACES / "S3-back-linear" / "0-7.safetensors")
    error = (reconstruct(model, LINEAR, x_0, tau) - x_0).double() / 2
    mse = error.square().flatten(1).mean(1)
    # two roundings of a float32 image are left between the two routes
    assert (found["error"] - mse).abs().max() < 1e-6
    assert "tau linear row 0.5 S 3 n 11 {'fid': " in capsys.readouterr().out
    # Fig. 5: one latent a row, one S a column, the samples of Table 1
    same = [
        batch(tmp_path / f"{FACES}-same" / f"S{S}-0-linear/0-8.safetensors")
        for S in (2, 3)
    ]
    assert [len(s["images"]) for s in same] == [8, 8]
    first = batch(tmp_path / FACES / "S3-0-linear" / "0-8.safetensors")
    assert torch.equal(same[1]["images"], first["images"])
    for name in ("same", "line"):
        png = (tmp_path / f"{FACES}-{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")


def test_fid_is_the_frechet_distance_of_all_its_images(tmp_path):
    """The package's number and ours, on features in their own units.

    Both work in float64; the package then rounds to float32, by 2^-24 of the
    number. Its own route, eigenvalues of a product without symmetry and sums
    of squares less means, loses no more than that here: 200 images span all
    64 directions.
    """
    subject = load_subject(FACES)
    images = to_bytes(latents(range(200), (3, 16, 16)))
    fid = scoring.Fid(subject, "cpu")
    twice = [fid(iter(images.split(part))) for part in (64, 200)]
    judge = OurJudge()
    with torch.no_grad():
        real, ours = judge(subject.real()), judge(images)
    truth = frechet(moments(ours), moments(real))
    assert truth > 1
    # a batch of another size may move a feature by a rounding of float32
    for value in twice:
        assert abs(value - truth) < 2**-20 * truth


def test_a_judge_is_fed_bytes_and_they_lose_nothing():
    seen = faces()["test"]
    assert torch.equal(from_bytes(to_bytes(seen)), seen)
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(from_bytes(every)), every)
    far = torch.tensor([-3.0, -1.0, 1.0, 3.0])
    assert to_bytes(far).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("last", [0, 17])
def test_a_killed_run_goes_on_to_the_same_end(
    tmp_path, monkeypatch, whole, last
):
    save, made = checkpoint.save, []

    def dies(path, *rest):
        if len(made) == last:
            # what a disk may leave of a file that was being written
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
            raise KeyboardInterrupt
        made.append(path)
        save(path, *rest)

    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        command(tmp_path, *WHOLE)
    kept = [path.stat().st_mtime_ns for path in made]
    monkeypatch.setattr(checkpoint, "save", save)
    command(tmp_path, *WHOLE)
    assert contents(tmp_path) == whole
    assert [path.stat().st_mtime_ns for path in made] == kept


def test_a_run_killed_between_two_results_goes_on(tmp_path, monkeypatch):
    fid = scoring.Fid.__call__
    count = []

    def dies(self, batches):
        if len(count) == 1:
            raise KeyboardInterrupt
        count.append(1)
        return fid(self, batches)

    words = [*FEW, "--S", "2", "--rows", "0", "1", "--tables", "1"]
    monkeypatch.setattr(scoring.Fid, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        command(tmp_path / "cut", *words)
    count.clear()
    command(tmp_path / "cut", *words)  # the first cell is not judged again
    assert len(count) == 1
    monkeypatch.setattr(scoring.Fid, "__call__", fid)
    command(tmp_path / "whole", *words)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_table_grows_cell_by_cell(tmp_path):
    few = [*FEW, "--tables", "1"]
    command(tmp_path / "a", *few, "--S", "2", "3", "--rows", "0", "1")
    for S, row in ((3, "1"), (2, "0"), (3, "0"), (2, "1")):
        command(tmp_path / "b", *few, "--S", S, "--rows", row)
    name = f"{FACES}-table1.json"
    one, two = (json.loads((tmp_path / x / name).read_text()) for x in "ab")
    assert one == two
    # another n is another cell; other weights do not count
    command(tmp_path / "b", *few, "--S", "2", "--rows", "0", "--n", "9")
    path = tmp_path / "b" / FACES / "S3-1-linear" / "result.json"
    stale = json.loads(path.read_text()) | {"weights": "other"}
    path.write_text(json.dumps(stale))
    found = scoring.collect(tmp_path / "b", load_subject(FACES), "fid")
    assert [(c["S"], c["row"], c["n"]) for c in found] == [
        (2, "0", 9), (3, "0", 11), (2, "1", 11)
    ]  # fmt: skip


TWO = """
import sys
import pytest
from accelerate import Accelerator
from test_atscale import WHOLE, command, shrink
assert Accelerator().num_processes == 2
with pytest.MonkeyPatch.context() as patch:
    shrink(patch)
    command(sys.argv[1], *WHOLE)
"""


def test_two_processes_make_the_same_tables(tmp_path, whole):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    done = two_processes(script, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(tmp_path / "two") == whole


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", "1"], "--n: it must be an integer >= 2, got 1"),
        (["--batch", "0"], "--batch: it must be an integer >= 1, got 0"),
        (["--S", "1001"], "--S: it must be an integer in 1..1000, got 1001"),
        (["--tau", "edm"], "invalid choice: 'edm'"),
        (["--rows", "0.3"], "invalid choice: '0.3'"),
        (["--tables", "3"], "invalid choice: 3"),
        (["--subject", "celeba"], "invalid choice: 'celeba'"),
        (["--weights", "x"], "--weights and --data are for cifar10 only"),
    ],
)
def test_a_wrong_call_is_refused(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        command(tmp_path, *FEW, *words)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_wrong_subject_is_refused():
    with pytest.raises(ValueError, match="no subject 'celeba'; there are"):
        load_subject("celeba")
    with pytest.raises(ValueError, match="pixel-faces are shipped"):
        load_subject(FACES, data=Path("here"))


def test_the_command_rounds_no_convolution_to_tf32(tmp_path, monkeypatch):
    seen = []

    def look(*_):
        seen.append(torch.backends.cudnn.allow_tf32)
        return {} if len(seen) == 1 else 0.003

    monkeypatch.setattr(atscale, "run", look)
    monkeypatch.setattr(cost, "seconds_a_call", look)
    for words in ([], ["--estimate"]):
        # PyTorch's default, which comes back after the test
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        command(tmp_path, *FEW, *words)
    assert seen == [False, False]


def test_what_fid_lacks_is_missed_before_the_first_sample(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    with pytest.raises(ModuleNotFoundError, match="pip install 'ddim-edu"):
        command(tmp_path, *FEW, "--S", "2")
    assert not list(tmp_path.iterdir())


# What is asked of the sampler


def test_hat_clipped_is_the_official_loop():
    """Its posterior of DDPM, written with alpha and beta, clamp and mask."""
    tau, seeds = tau_official(1000, 6), range(4)
    x = normal(4, 2, seed=3)

    def eps_model(x_t, t):
        return torch.sin(3 * x_t) + 0.2  # sends x0-hat far outside

    ours = hat_clipped(eps_model, LINEAR, x, tau, seeds)
    noise = [torch.Generator().manual_seed(seed) for seed in seeds]
    far = 0.0
    times = [*tau.flip(0).tolist(), 0]
    for t, s in pairwise(times):
        a, a_s = float(LINEAR.alpha[t]), float(LINEAR.alpha[s])
        beta = 1 - a / a_s
        x_0 = (x - (1 - a) ** 0.5 * eps_model(x, None)) / a**0.5
        far = max(far, float(x_0.abs().max()))
        x_0 = x_0.clamp(-1, 1)
        mean = (a_s**0.5 * beta * x_0 + (1 - beta) ** 0.5 * (1 - a_s) * x) / (
            1 - a
        )
        z = torch.stack(
            [torch.randn(2, generator=g, dtype=x.dtype) for g in noise]
        )
        x = mean + (t > 1) * beta**0.5 * z
    assert far > 2  # or nothing was clipped
    # rounding, swollen by 1/sqrt(alpha_t) < 27 at the start of 6 steps
    assert (ours - x).abs().max() < 1e-10


def test_without_the_clamp_it_is_d3_as_printed():
    """Where x0-hat stays inside, only the last step's noise is missing."""
    tau, x = tau_linear(1000, 5), 0.1 * normal(3, 2, seed=4)

    def inside(x_t, t):  # x0-hat = x_t / 8
        a = LINEAR.alpha[t].view(-1, 1)
        return x_t * (1 - a.sqrt() / 8) / (1 - a).sqrt()

    clipped = hat_clipped(inside, LINEAR, x, tau, range(3))
    printed = sample(inside, LINEAR, x, tau, variance="hat", seeds=range(3))
    g = [torch.Generator().manual_seed(seed) for seed in range(3)]
    for _ in tau:  # the noise of the last step
        z = torch.stack(
            [torch.randn(2, generator=h, dtype=x.dtype) for h in g]
        )
    last = float(sigma_hat(LINEAR, tau)[0])
    assert (clipped - (printed - last * z)).abs().max() < 1e-12


def test_official_times():
    """Golden values of the list of public conventions; distinct, rising."""
    assert tau_official(1000, 10).tolist() == [
        1, 10, 40, 89, 159, 247, 356, 484, 633, 801
    ]  # fmt: skip
    for S, distinct in ((50, 49), (100, 96), (500, 422), (1000, 688)):
        tau = tau_official(1000, S)
        assert len(tau) == distinct
        assert int(tau.diff().min()) > 0 and tau[[0, -1]].tolist() == [1, 801]
    with pytest.raises(ValueError, match="S must be in 1..T = 1..1000, got 0"):
        tau_official(1000, 0)


def test_batches_cover_the_seeds_once():
    parts = split(13, 5)
    assert [s for part in parts for s in part] == list(range(13))
    assert list(map(len, parts)) == [5, 5, 3]


def test_a_file_that_is_none_is_not_done(tmp_path):
    path = tmp_path / "x.safetensors"
    assert not is_done(path, "w")
    checkpoint.save(path, {"batch": {"a": torch.ones(1)}}, {"weights": "w"})
    assert is_done(path, "w") and not is_done(path, "other")
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_done(path, "w")


# What it costs


def test_calls_are_those_that_a_run_makes(tmp_path):
    from accelerate import Accelerator

    subject, seen = load_subject(FACES), []

    def counted(x_t, t):
        seen.append(len(x_t))
        return torch.zeros_like(x_t)

    subject = subject._replace(eps_model=counted)
    cells = atscale.plan([1, 2], ["0", "hat-clipped"], [2, 5], "official")
    atscale.run(subject, cells, 6, tmp_path, Accelerator(cpu=True), 4)
    # the sheets: 8 latents at both S, and 4 lines of 3 points at the larger
    sheets = 8 * 7 + 4 * 3 * 5
    assert sum(seen) - sheets == cost.calls(subject, cells, 6)
    assert cost.calls(subject, cells, 6) == 2 * 6 * 7 + 2 * 6 * 7


def test_the_estimate_is_calls_times_seconds(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cost, "seconds_a_call", lambda *_: 0.003)
    command(tmp_path, "--subject", FACES, "--tables", "1", "--estimate")
    text = capsys.readouterr().out
    total = 5 * 50_000 * (10 + 20 + 50 + 100 + 1000)
    assert f"25 cells, {total:,} calls" in text
    assert f": {total * 0.003 / 3600:.3g} hours on 1 process(es)" in text
    assert f"disk: {25 * 50_000 * 3 * 16 * 16 / 1e9:.3g} GB" in text
    assert not list(tmp_path.iterdir())  # an estimate makes nothing


def test_a_call_is_timed(monkeypatch):
    assert cost.seconds_a_call(load_subject(FACES), 2, "cpu") > 0


def test_flops_are_those_of_the_layers():
    """A convolution has 2 C_in C_out k^2 H W, a linear layer 2 n m.

    Attention over n places in c channels has 4 n^2 c, fused or not.
    """

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.linear = nn.Linear(5, 7)

        def forward(self, x, t):
            q = x.flatten(2).mT  # (1, H W, 3)
            looked = nn.functional.scaled_dot_product_attention(q, q, q)
            return self.conv(x), self.linear(x[0, 0, 0, :5]), looked

    expected = 2 * 3 * 8 * 9 * 12 * 10 + 2 * 5 * 7 + 4 * 120**2 * 3
    for device in ("cpu", "meta"):
        with torch.device(device):
            assert cost.flops_a_call(Net(), (3, 12, 10)) == expected


# CIFAR-10, with all but the weights


NARROW = UNetConfig(3, (8, 16), 1, (False, True), groups=4)


class TinyJudge(nn.Module):
    num_features = 12

    def forward(self, images):
        quarters = images.float().unflatten(3, (2, 16)).unflatten(2, (2, 16))
        return quarters.mean((3, 5)).flatten(1)  # (B, 3 * 2 * 2)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Random weights under the published names, and a synthetic archive."""
    from ddim_edu import cifar, published
    from ddim_edu.translation import key_map

    torch.manual_seed(0)
    net = UNet(NARROW)
    nn.init.normal_(net.leave.weight, std=0.1)
    ours = net.state_dict()
    weights = tmp_path / "theirs.safetensors"
    save_file({k: ours[v] for k, v in key_map(NARROW).items()}, weights)
    entry = dataclasses.replace(published.CATALOGUE["cifar10"], config=NARROW)
    monkeypatch.setitem(published.CATALOGUE, "cifar10", entry)
    archive = tmp_path / cifar.NAME
    g = torch.Generator().manual_seed(0)
    with tarfile.open(archive, "w:gz") as tar:
        for name in (*cifar.FILES["train"], *cifar.FILES["test"]):
            label = torch.randint(10, (9, 1), generator=g)
            pixels = torch.randint(256, (9, 3072), generator=g)
            raw = torch.cat([label, pixels], 1).to(torch.uint8).numpy()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = raw.size
            tar.addfile(info, io.BytesIO(raw.tobytes()))
    monkeypatch.setattr(cifar, "RECORDS", 9)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar, "SHA256", digest)
    monkeypatch.setattr(subjects, "INCEPTION", TinyJudge())
    return net.eval(), ["--weights", weights, "--data", tmp_path]


def test_cifar10_runs_end_to_end_but_for_the_weights(tmp_path, cifar):
    net, given = cifar
    words = ["--subject", "cifar10", *given, "--n", 20, "--batch", 8]
    out = tmp_path / "out"
    command(out, *words, "--S", 2, 5)
    table = json.loads((out / "cifar10-table1.json").read_text())
    assert len(table) == 10 and {c["tau"] for c in table} == {"quadratic"}
    assert {c["weights"] for c in table} == {fingerprint(net)}
    back = json.loads((out / "cifar10-table2.json").read_text())
    assert [c["n"] for c in back] == [9, 9]
    # against our own road: the network asked at t - 1, quadratic times
    (cell,) = (c for c in table if (c["S"], c["row"]) == (5, "0"))
    tau = Cell(5, "0", "quadratic").times(LINEAR)
    assert tau.tolist() == [40, 160, 360, 640, 1000]
    images = [
        to_bytes(
            sample(
                lambda x, t: net(x, t - 1),
                LINEAR,
                latents(seeds, (3, 32, 32)),
                tau,
            )
        )
        for seeds in split(20, 8)
    ]
    judge = TinyJudge()
    subject = load_subject("cifar10", "cpu", given[1], given[3])
    assert len(subject.real()) == 45
    truth = frechet(
        moments(judge(torch.cat(images))), moments(judge(subject.real()))
    )
    # the package rounds to float32, and 20 images span all 12 directions
    assert abs(cell["fid"] - truth) < 2**-20 * truth


def test_cifar10_asks_for_inception(monkeypatch, tmp_path, cifar):
    monkeypatch.setattr(subjects, "INCEPTION", 2048)
    subject = load_subject("cifar10", "cpu", cifar[1][1], cifar[1][3])
    assert subject.judge() == 2048
    try:
        import torch_fidelity  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match="Torch-fidelity"):
            scoring.Fid(subject, "cpu")
