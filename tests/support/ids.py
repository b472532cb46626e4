"""Ids of parametrized tests that are the same in each process, as pytest-xdist needs them."""

from __future__ import annotations

import re
from typing import Any


def stable_id(value: Any) -> str:
    """Return ``str(value)`` without object addresses, and with sets in order."""
    text = re.sub(r" at 0x[0-9a-f]+", "", str(value))
    return re.sub(r"\{('\w+'(?:, '\w+')*)\}", lambda found: "{" + ", ".join(sorted(found[1].split(", "))) + "}", text)
