"""What needs a process of its own: memory and imports.

python -m benchmarks.probe memory diffusers 50 500
python -m benchmarks.probe data 10000
python -m benchmarks.probe import
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path


def resident(field: str) -> float:
    """This process's memory in MiB: VmRSS now, VmHWM at its peak (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field}: memory is measured on Linux only")


def growth(run) -> float:
    """MiB by which memory exceeds what is held now, at most, during a run."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    run()
    return max(0.0, resident("VmHWM") - before)


def memory(name: str, *sizes: str) -> dict[str, float]:
    """Growth of memory after a run of 10 steps, by number of steps."""
    import torch

    from ddim_edu import tau_linear

    from .peers import OURS, PEERS, ours, prepare

    torch.set_num_threads(1)
    if name != OURS:
        prepare([name])
    build = {**PEERS, OURS: ours}[name]
    shape = (64, 1, 28, 28)
    x, eps = torch.randn(shape), torch.randn(shape)

    def run(S: int) -> None:
        build(lambda x, k: eps, tau_linear(1000, S), 0.0, shape)(x)

    run(10)
    return {S: growth(lambda S=S: run(int(S))) for S in sizes}


def data(n: str) -> dict[str, float]:
    """Growth while the exact predictor reads n images once."""
    import torch

    from ddim_edu import Schedule, empirical_eps, fashion_mnist

    torch.set_num_threads(1)
    images, _ = fashion_mnist("test")
    images = images[: int(n)].clone()
    eps_model = empirical_eps(images, Schedule.linear())
    x, t = torch.randn(16, 1, 28, 28), torch.full((16,), 500)
    eps_model(x[:1], t[:1])
    return {"images": int(n), "mib": growth(lambda: eps_model(x, t))}


def imports() -> dict[str, float]:
    """CPU seconds to import torch, and what the package adds."""
    start = time.process_time()
    import torch  # noqa: F401

    middle = time.process_time()
    import ddim_edu  # noqa: F401

    return {
        "torch": middle - start,
        "ddim_edu": time.process_time() - middle,
    }


def probe(*words: object) -> dict:
    """Run one of the above in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.probe", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    answer = {"memory": memory, "data": data, "import": imports}[kind](*rest)
    print(json.dumps(answer))
