"""The simulation from the command line; see `python -m tests.simulation --help`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation import play


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Run the exchange under faults, by seeds."
    )
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run (default 2000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens, line by line")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed, trace=options.trace)
    began = time.monotonic()
    summary = play.Summary()
    for seed in range(options.first, options.first + options.seeds):
        failure = play.play(seed, summary)
        if failure is not None:
            print(
                f"seed {seed}: {failure}\nreplay: python -m tests.simulation --seed {seed} --trace",
                file=sys.stderr,
            )
            return 1
    print(summary.line(time.monotonic() - began))
    return 0


def _one(seed: int, *, trace: bool) -> int:
    lines, failure = play.traced(seed)
    if trace:
        print("\n".join(lines))
    print(f"seed {seed}: {failure or 'all holds'}")
    return 0 if failure is None else 1


sys.exit(main())
