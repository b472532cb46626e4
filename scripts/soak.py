"""Soak test: one client, 64 threads, signals, forks and a failing server, for a number of seconds (60 by default).

    python scripts/soak.py 600

The code is in tests/support/load_tools.py, which tests/test_load.py runs for some seconds.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.interruption_tools import AVAILABLE as HAS_FORKS
from support.load_tools import emulator, grown, run_forks, run_round

_FORK_SECONDS = 6.0  # of each round; starting and ending takes as long again


def main(arguments: list[str]) -> int:
    """Run rounds until the time is up; return 1 if anything failed."""
    seconds = float(arguments[0]) if arguments else 60.0
    seed = int(os.environ.get("SEED", time.time()))
    print(
        f"Soak test of {seconds:g} s: 64 threads, one client, signals, forks, a failing server; "
        f"SEED={seed} repeats the choices.",
        flush=True,
    )
    begun = time.monotonic()
    with emulator() as server:
        first = run_round(server, min(10.0, seconds / 3), seed=seed)
        print(f"warm-up: {first}", flush=True)
        problems, rounds = list(first.wrong), 0
        while (left := seconds - (time.monotonic() - begun)) > 2 * _FORK_SECONDS or not rounds:
            rounds += 1
            last = run_round(server, min(30.0, max(5.0, left - 2 * _FORK_SECONDS)), seed=seed + rounds)
            print(f"round {rounds}: {last}", flush=True)
            problems += last.wrong + grown(first, last, megabytes=16.0)
            if HAS_FORKS:
                forks = run_forks(server, _FORK_SECONDS, seed=seed + rounds)
                print(f"round {rounds}, forks: {forks}", flush=True)
                problems += forks.wrong
            if not last.outcomes["chat"] or not last.outcomes["stream"]:
                problems.append("no chat, or no stream, succeeded")
            if problems:
                break
    for problem in problems[:20]:
        print(f"WRONG: {problem}")
    print(f"{'FAILED' if problems else 'Passed'} after {time.monotonic() - begun:.0f} s.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
