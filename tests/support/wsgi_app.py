"""A web application as people write them: one client for the module, warm before gunicorn forks its workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from gigaclient import GigaChat

giga = GigaChat()
"""Made from ``GIGACHAT_*`` in the master process, which ``--preload`` has import this module."""

# Two connections are open and idle, and both endpoints were met, when the workers inherit them.
first = giga.stream("Count from 1 to 5")
giga.chat("Hello")
first.result()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers ``?ask=…`` with what the model said: whole, or piece by piece with ``&stream=1``."""
    query = parse_qs(environ["QUERY_STRING"])
    asked = query["ask"][0]
    headers = [
        ("Content-Type", "text/plain"),
        ("X-Worker", str(os.getpid())),
        ("X-Thread", threading.current_thread().name),
    ]
    if "stream" in query:
        pieces = giga.generate(asked)
        start_response("200 OK", headers)
        return (piece.encode() for piece in pieces)
    text = giga.chat(asked).text
    start_response("200 OK", headers)
    return [text.encode()]
