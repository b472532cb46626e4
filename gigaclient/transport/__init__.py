"""The wire: sockets, connections, the session. Nothing outside this package imports requests or urllib3.

They are loaded when the first client is made, and not by ``import gigaclient``: they take longer to import than all the
rest, and not every program that imports a library calls it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gigaclient.transport.request import HTTPRequest, origin_of

if TYPE_CHECKING:
    from requests import Session

    from gigaclient.transport.errors import timed_out
    from gigaclient.transport.http import Transport
    from gigaclient.transport.response import Response

__all__ = ["HTTPRequest", "Response", "Session", "Transport", "origin_of", "timed_out"]

_LATER = {
    "Response": "gigaclient.transport.response",
    "Session": "requests",
    "Transport": "gigaclient.transport.http",
    "timed_out": "gigaclient.transport.errors",
}


def __getattr__(name: str) -> Any:
    room = _LATER.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(room), name)
    return value
