"""Recognise libraries that have replaced Python's sockets, locks or TLS in a way that cannot work."""

from __future__ import annotations

import ssl
import sys

from gigaclient.errors import ConfigError
from gigaclient.transport.tls_handshake import Context

__all__ = ["check_patches"]


def check_patches() -> None:
    """Check that the program is not patched too late by gevent, and not at all by eventlet.

    Raises:
        ConfigError: it is. Without this, a call would end in a ``RecursionError``, or wait for ever.
    """
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("socket"):
        raise ConfigError(
            "eventlet has patched this program, and gigaclient does not run under it: use threads or gevent instead"
        )
    # gevent replaces ssl.SSLContext by a subclass. A class that was derived from the original no longer fits.
    if not issubclass(Context, ssl.SSLContext):
        raise ConfigError(
            "gevent patched ssl after gigaclient was imported: call gevent.monkey.patch_all() before the first import; "
            "for gunicorn -k gevent leave --preload out, for uWSGI set import-gevent-monkey-patch"
        )
