"""Fuzzing with coverage feedback: ``python fuzz/run.py CORPUS SECONDS [libFuzzer options]``.

Findings are written to files in CORPUS; ``python fuzz/run.py CORPUS 0 FILE`` runs one again.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gigaclient"]):
    import targets


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    corpus, seconds, options = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    found = corpus / "found"
    found.mkdir(parents=True, exist_ok=True)
    for seed in targets.seeds():
        corpus.joinpath(hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    # One input may take at most a second and a gigabyte; more is a finding.
    bounds = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=16384", f"-artifact_prefix={found}/"]
    run = [*bounds, f"-max_total_time={max(1, int(seconds))}", str(corpus)] if seconds else []
    atheris.Setup([sys.argv[0], *run, *options], targets.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
