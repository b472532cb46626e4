"""``python benchmarks``: puts the checkout last on the path, so that the installed packages are measured."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    del sys.path[0]
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    from benchmarks.command import main

    sys.exit(main())
