"""Soak test: one client, 64 threads, and a server that has a bad day, for as many seconds as asked (60 by default).

    python scripts/soak.py 600

The work is in tests/support/rel_load.py, which tests/test_load.py runs for some seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.rel_load import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
