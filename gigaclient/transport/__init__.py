"""HTTP over TLS: sockets, connections, connection pools. Only this package imports requests and urllib3.

They are loaded when the first client is made, not by ``import gigaclient``, because importing them takes longer than
importing all the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient._primitives.lazy import lazy_names
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


__getattr__, __dir__ = lazy_names(globals(), _LAZY_MODULES)
