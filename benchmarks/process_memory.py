"""The memory of the process that measures, on Linux."""

from __future__ import annotations

import os

__all__ = ["peak_kb", "resident_kb"]


def resident_kb() -> float:
    """Return the memory of this process that is in RAM, KB."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def peak_kb() -> float:
    """Return the most memory that this process had in RAM so far, KB."""
    # Not ru_maxrss, which starts with the value of the parent process.
    with open("/proc/self/status", encoding="ascii") as file:
        return next(float(line.split()[1]) for line in file if line.startswith("VmHWM"))
