"""Explain why a certificate was refused, with the issuer that the server presents."""

from __future__ import annotations

from urllib.parse import urlsplit

from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.errors import TLSError
from gigaclient.transport.adapter import PinnedPools
from gigaclient.transport.der import issuer_of
from gigaclient.transport.proxies import without_password
from gigaclient.transport.response import PROBE_SECONDS
from gigaclient.transport.socket import ConnectionState, this_thread

__all__ = ["refused_certificate"]


def refused_certificate(
    reason: str, url: str, proxy: Secret | None, *, of_proxy: bool, pools: PinnedPools, deadline: Deadline
) -> TLSError:
    """Return the error for a certificate that was refused for ``reason``.

    Args:
        reason: OpenSSL's reason.
        url: the URL of the request.
        proxy: the proxy in use, if any.
        of_proxy: True if it is the certificate of the proxy.
        pools: make the connection that fetches the certificate once more, for the name of its issuer.
        deadline: the deadline of the call.
    """
    if proxy is not None and of_proxy:
        # The pin is not for the proxy: see PinnedPools.
        return TLSError(
            f"the certificate of the proxy {without_password(proxy)} was refused: {reason}; trusted for proxies: the "
            "public authorities of this system, or the file that REQUESTS_CA_BUNDLE names",
            host=urlsplit(proxy.reveal()).hostname,
        )
    host = urlsplit(url).hostname or ""
    issuer = _fetch_issuer(url, proxy, pools, deadline)
    return TLSError(pools.trust.explain(host, reason, issuer), host=host, issuer=issuer)


def _fetch_issuer(url: str, proxy: Secret | None, pools: PinnedPools, deadline: Deadline) -> str | None:
    limit = min(PROBE_SECONDS, deadline.left())
    probe = Deadline(Timeouts(limit, limit, deadline=limit))
    deadline.on_cancel(probe.cancel)
    outer, this_thread.state = this_thread.state, ConnectionState(probe)
    try:
        presented = pools.presented_certificate(url, proxy.reveal() if proxy else None)
        return issuer_of(presented) if presented is not None else None
    except Exception:  # the issuer only improves the error message
        return None
    finally:
        this_thread.state = outer
        deadline.on_cancel(None)
