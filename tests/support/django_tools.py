"""Helpers of the Django tests: settings, and servers of the site in ``contrib/django_site``."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import django
from django.conf import settings
from django.test import override_settings
from support.reliability_tools import SUPPORT, wait_until
from support.web import Served, end

TESTS = SUPPORT.parent
CHECKOUT = TESTS.parent
SITE = "contrib.django_site"


def configured() -> None:
    """Configure Django in this process. Only the application is set, because another test may have configured it."""
    if not settings.configured:
        settings.configure(INSTALLED_APPS=["gigaclient.contrib.django"], SECRET_KEY="of tests", USE_TZ=True)
        django.setup()
    assert "gigaclient.contrib.django" in settings.INSTALLED_APPS


def site(**changed: object) -> override_settings:
    """Return a context manager that applies the settings of the site with changes."""
    from contrib.django_site import settings as of_site

    names = ("ALLOWED_HOSTS", "MIDDLEWARE", "ROOT_URLCONF", "GIGACLIENT")
    return override_settings(**{**{name: getattr(of_site, name) for name in names}, "FOLDER": "", **changed})


def clean_environment(**added: str) -> dict[str, str]:
    """Return this process's environment without proxies and personal settings."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith("_PROXY") and not name.upper().startswith(("GIGACHAT_", "DJANGO_"))
    }
    return {**variables, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **added}


_UVICORN = """
import socket, sys
import uvicorn
config = uvicorn.Config(sys.argv[1], lifespan="off", log_level="info", timeout_graceful_shutdown=5)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])
"""


@contextlib.contextmanager
def uvicorn(
    application: str, folder: Path, environment: Mapping[str, str], directory: Path = TESTS
) -> Iterator[Served]:
    """Start a uvicorn that serves ``application`` of a module in ``directory``, with its log in ``folder``."""
    log = folder / "uvicorn.log"
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("w") as written:
        server = subprocess.Popen(
            [sys.executable, "-c", _UVICORN, application, str(listener.fileno())],
            cwd=directory, pass_fds=[listener.fileno()], env=dict(environment), stdout=written, stderr=written,
        )  # fmt: skip
        try:
            yield Served(listener.getsockname()[1], log)
        finally:
            end(server, log.read_text)


@contextlib.contextmanager
def command(*words: str, folder: Path, environment: Mapping[str, str], directory: Path) -> Iterator[Served]:
    """Start a command that prints its address, such as ``manage.py runserver``, with its output in ``folder``."""
    log = folder / "command.log"
    with log.open("w") as written:
        server = subprocess.Popen(
            [sys.executable, *words], cwd=directory, env=dict(environment), stdout=written, stderr=written,
            start_new_session=True,  # so that the child of the reloader ends with it
        )  # fmt: skip
        try:
            wait_until(
                lambda: server.poll() is not None or any(word in log.read_text() for word in ("http://", "Traceback")),
                seconds=40,
                what=f"the start of {words}",
            )
            assert server.poll() is None and "http://127.0.0.1:" in log.read_text(), log.read_text()[-3000:]
            port = log.read_text().partition("http://127.0.0.1:")[2].partition("/")[0]
            yield Served(int(port), log)
        finally:
            end(server, log.read_text, group=True)
