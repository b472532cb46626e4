"""Tests of apps on Streamlit and Gradio. They run only with ``pytest --apps tests/apps``."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--apps", action="store_true", help="run the tests in tests/apps: Streamlit, Gradio")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("--apps", False) else True
