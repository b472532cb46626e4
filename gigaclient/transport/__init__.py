"""HTTP over TLS: sockets, connections, connection pools. Only this package imports requests and urllib3.

They are loaded when the first client is made, not by ``import gigaclient``, because importing them takes longer than
importing all the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gigaclient.transport.request import Request, origin_of

if TYPE_CHECKING:
    from requests import Session

    from gigaclient.transport.errors import wait_failure
    from gigaclient.transport.http import Transport
    from gigaclient.transport.response import Response

__all__ = ["Request", "Response", "Session", "Transport", "origin_of", "wait_failure"]

_LAZY_MODULES = {
    "Response": "gigaclient.transport.response",
    "Session": "requests",
    "Transport": "gigaclient.transport.http",
    "wait_failure": "gigaclient.transport.errors",
}


def __getattr__(name: str) -> Any:
    module = _LAZY_MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value
