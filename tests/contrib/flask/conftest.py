"""An emulator, an app that uses it, and a test client of the app."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.flask_tools import app_of
from support.reliability_tools import wait_until
from support.web import pumps

from gigaclient.testing import GigaChatEmulator


@pytest.fixture
def emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    yield shared_emulator
    shared_emulator.clear()
    wait_until(lambda: shared_emulator.open_streams == 0, what="the end of all upstream calls")


@pytest.fixture
def app(emulator: GigaChatEmulator) -> Iterator[Flask]:
    yield app_of(emulator)
    wait_until(lambda: not pumps(), what="the end of the threads that read")


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()
