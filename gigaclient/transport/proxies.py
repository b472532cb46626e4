"""Choose and validate the proxy for an origin."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

__all__ = ["proxy_for", "without_password"]


def proxy_for(origin: str, proxy: str | None, session: requests.Session | None = None) -> Secret | None:
    """Return the proxy for ``origin``: ``proxy`` if set, else the user's session's, else the environment's.

    Raises:
        ConfigError: it is not the address of an HTTP proxy.
    """
    source, address = "proxy", Secret(proxy) if proxy is not None else None
    del proxy
    if address is None and session is not None:
        source, address = "the proxy of the session", _select_proxy(origin, session.proxies)
    # Without TLS the proxy could read everything, and http:// is for servers on this machine or beside it.
    if address is None and origin.startswith("https:") and (session is None or session.trust_env):
        source = "the proxy of the environment"
        address = _select_proxy(origin, get_environ_proxies(origin + "/", no_proxy=None))
    if not address:
        return None
    if "://" not in address:
        address = Secret(f"http://{address.reveal()}")
    problem = _problem_with(address)
    if problem is not None:
        raise ConfigError(f"{source} {problem}")
    return address


def _select_proxy(origin: str, proxies: Mapping[str, str]) -> Secret | None:
    found = select_proxy(origin + "/", dict(proxies))
    return Secret(found) if found else None


def _problem_with(proxy: Secret) -> str | None:
    # Return the problem and do not raise it: the frame here holds the password, and must not be in a traceback.
    try:
        parts = urlsplit(proxy.reveal())
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    else:
        if parts.scheme not in ("http", "https"):
            return f"must be an http:// or https:// address; {parts.scheme}:// is not supported"
    return None if usable else "is not an address like http://host:port"


def without_password(url: str) -> str:
    """Return ``url`` with the user and the password masked, for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"***@{host}" if "@" in parts.netloc else host, parts.path, "", ""))
