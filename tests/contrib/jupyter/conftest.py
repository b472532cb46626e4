"""A kernel with the magics, shared by the tests of a module."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

import pytest
from support.kernel import Kernel, kernel

from gigaclient.testing import GigaChatEmulator


@pytest.fixture(scope="module")
def running(emulator: GigaChatEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("notebook")
    private = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "XDG_CONFIG_HOME": str(folder / "config")}
    # The tests must not use the keyring of a developer's machine.
    private["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIGA")}
    with kernel({**environment, **private, **emulator.environment}, str(folder)) as started:
        assert started.run("%load_ext gigaclient").status == "ok"
        yield started


@pytest.fixture
def notebook(running: Kernel, emulator: GigaChatEmulator) -> Iterator[Kernel]:
    """Yield the kernel with a new dialogue; fail if any of its messages holds a secret."""
    emulator.clear()
    emulator.event_pause_s = 0.0
    running.run("%xmode Context")
    running.run("%reload_ext gigaclient")
    del running.transcript[:]
    seen = len(emulator.requests)
    yield running
    sent = "\n".join(running.transcript)
    secrets = {"the key": emulator.credentials, "the pair": base64.b64decode(emulator.credentials).decode()}
    secrets["the secret"] = secrets["the pair"].partition(":")[2]
    for number, request in enumerate(emulator.requests[seen:]):
        secrets[f"token {number}"] = request.headers["authorization"].removeprefix("Bearer ")
    assert [name for name, secret in secrets.items() if secret in sent] == []
