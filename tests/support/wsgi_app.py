"""A typical web application: one client for the module, already used before gunicorn forks its workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from gigaclient import GigaChat

giga = GigaChat()
"""The client of the master process, made from ``GIGACHAT_*``: with ``--preload`` the master imports this module."""

# The workers inherit two idle connections, and a client that has used both endpoints.
first = giga.stream("Count from 1 to 5")
giga.chat("Hello")
first.result()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Respond to ``?ask=…`` with the model's answer; ``&stream=1`` streams it."""
    query = parse_qs(environ["QUERY_STRING"])
    prompt = query["ask"][0]
    headers = [
        ("Content-Type", "text/plain"),
        ("X-Worker", str(os.getpid())),
        ("X-Thread", threading.current_thread().name),
    ]
    if "stream" in query:
        pieces = giga.generate(prompt)
        start_response("200 OK", headers)
        return (piece.encode() for piece in pieces)
    text = giga.chat(prompt).text
    start_response("200 OK", headers)
    return [text.encode()]
