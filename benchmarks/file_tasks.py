"""Measurements of uploads and downloads: the rate, and the peak of memory."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

from benchmarks.process_memory import peak_kb

if TYPE_CHECKING:
    from benchmarks.worker import Specification


def upload_rate(spec: Specification) -> float:
    """Return MB a second of the upload of a file of ``count`` MB."""
    return spec.count / _file_costs(spec, upload=True)[0]


def upload_memory(spec: Specification) -> float:
    """Return the peak memory of that upload above the memory before it, MB."""
    return _file_costs(spec, upload=True)[1]


def download_rate(spec: Specification) -> float:
    """Return MB a second of the download of a file of ``count`` MB."""
    return spec.count / _file_costs(spec, upload=False)[0]


def download_memory(spec: Specification) -> float:
    """Return the peak memory of that download above the memory before it, MB."""
    return _file_costs(spec, upload=False)[1]


def _file_costs(spec: Specification, *, upload: bool) -> tuple[float, float]:
    """Return the seconds of a transfer on a new connection, and its peak memory above that before, MB."""
    client = spec.client()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file.bin")
        if upload:
            with open(path, "wb") as file:
                file.truncate(spec.count * 1_000_000)
        before, begun = peak_kb(), time.perf_counter()
        (client.upload if upload else client.download)(path)
        seconds = time.perf_counter() - begun
        if os.path.getsize(path) != spec.count * 1_000_000:
            raise RuntimeError("the file is not whole: this is no comparison")
    return seconds, (peak_kb() - before) / 1024
