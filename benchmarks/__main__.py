"""Speed and memory against public samplers: a table, and a JSON file.

python -m benchmarks [--quick] [--out FILE] [--peers NAME ...]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import torch

from . import sections
from .clock import machine
from .peers import PEERS, TOLERANCE, judge, prepare
from .report import show, targets

OUT = Path(__file__).with_name("results.json")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS])
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # the peers' own
    torch.set_num_threads(1)
    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - start:4.0f} s] {text}", flush=True)

    sizes = [50] if args.quick else [50, 1000]
    few = 3 if args.quick else 9
    here, left_out = prepare(args.peers)
    for name, reason in left_out.items():
        say(f"{name} is left out: {reason}")
    peers = list(here)
    say(f"do the peers compute our samples, within {TOLERANCE:g}?")
    # the network is sampled in 10 steps
    same, refused = judge(peers, [10, *sizes])
    for (name, S, eta), reason in refused.items():
        say(f"{name} is not timed at S = {S}, eta = {eta:g}: {reason}")
    found = {
        "machine": machine(),
        "quick": args.quick,
        "peers": here,
        "left_out": left_out,
        "refused": [[*key, why] for key, why in refused.items()],
        "same": same,
    }
    say("microseconds a step")
    found["steps"] = sections.per_step(
        peers, refused, sizes, {50: few, 1000: 5}
    )
    say("memory")
    found["memory"] = sections.memory([] if args.quick else peers, [50, 500])
    say("with a network")
    batch, rounds = (4, 2) if args.quick else (8, 5)
    found["network"] = sections.network(peers, refused, 10, batch, rounds)
    say("the exact predictor of a data set")
    found["data"] = sections.data([2500, 5000, 10_000], few)
    say("import")
    found["import"] = sections.imports(3 if args.quick else 5)
    found["targets"] = targets(found)
    found["machine"]["seconds"] = round(time.perf_counter() - start)
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{show(found)}\n\nwritten to {args.out.name}")
    say("done")


if __name__ == "__main__":
    main()
