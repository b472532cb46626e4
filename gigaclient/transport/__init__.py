"""The wire: sockets, connections, the session. Nothing outside this package imports requests or urllib3."""

from __future__ import annotations

from requests import Session

from gigaclient.transport.client import Outgoing, Reply, Transport, origin_of
from gigaclient.transport.failures import timed_out

__all__ = ["Outgoing", "Reply", "Session", "Transport", "origin_of", "timed_out"]
