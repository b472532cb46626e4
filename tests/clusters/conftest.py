"""Tests that need a cluster, a broker or large libraries. They run only with ``pytest --clusters tests/clusters``."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--clusters", action="store_true", help="run the tests in tests/clusters: Dask, Celery, pandas")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("--clusters", False) else True
