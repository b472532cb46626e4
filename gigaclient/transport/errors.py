"""Translate exceptions of requests, urllib3, http.client, ssl and sockets into ours; no other module does.

The original exceptions are dropped, because they hold the prepared request and with it the ``Authorization`` header.
"""

from __future__ import annotations

import http.client
import socket
import ssl

import requests
import urllib3.exceptions
from urllib3.util.ssl_match_hostname import CertificateError

from gigaclient._primitives.deadline import Cancelled, Deadline, DeadlineExceeded
from gigaclient._primitives.foreign_errors import chain
from gigaclient.errors import APIConnectionError, APITimeoutError, GigaClientError, InvalidResponseError, TLSError
from gigaclient.transport.framing import MalformedChunkError, MalformedHeadError
from gigaclient.transport.proxies import SocksError, is_socks
from gigaclient.transport.socket import ConnectionState

__all__ = ["certificate_failure", "is_lost_connection", "is_proxy_failure", "translate", "wait_failure"]

# urllib3's NewConnectionError inherits from its timeout error, so `translate` excludes it; its cause decides.
_TIMEOUTS = (urllib3.exceptions.TimeoutError, requests.exceptions.Timeout, TimeoutError)

_TIMEOUT_MESSAGES = {
    "connect": "no connection to {host} within {seconds:g} s: check the network, the proxy and the address",
    "read": "{host} did not answer in time (read timeout {seconds:g} s): pass a longer timeout=, or stream the answer",
    "event": "{host} kept the stream alive but sent no event for {seconds:g} s",
    "deadline": "the deadline of {seconds:g} s for the whole call passed",
}


def wait_failure(
    failure: DeadlineExceeded | Cancelled, host: str, deadline: Deadline, *, sent: bool
) -> APIConnectionError:
    """Return the error for an expired timeout or a cancel; both become errors nowhere else."""
    if isinstance(failure, Cancelled):
        return APIConnectionError("the call was ended by close()", sent=sent)
    seconds = getattr(deadline.timeouts, failure.timeout_kind)
    message = _TIMEOUT_MESSAGES[failure.timeout_kind].format(host=host, seconds=seconds)
    return APITimeoutError(message, sent=sent, timeout_kind=failure.timeout_kind)


def translate(failure: BaseException, state: ConnectionState, host: str, proxy: str | None = None) -> GigaClientError:
    """Return our error for an exception of a library; its message holds no header, URL query or body."""
    deadline = state.deadline
    if deadline.cancelled:
        return wait_failure(Cancelled(), host, deadline, sent=state.sent)
    if deadline.expired is not None:
        return wait_failure(DeadlineExceeded(deadline.expired), host, deadline, sent=state.sent)
    causes = list(chain(failure))
    for cause in causes:
        if isinstance(cause, urllib3.exceptions.ProxyError):
            return _proxy_error(causes, proxy or "")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return _tls_error(cause, state, host)
    for cause in causes:
        error = _translate_cause(cause, state, host)
        if error is not None:
            return error
    return APIConnectionError(_connection_message(causes, state, host), sent=state.sent)


def _translate_cause(cause: BaseException, state: ConnectionState, host: str) -> GigaClientError | None:
    if isinstance(cause, _TIMEOUTS) and not isinstance(cause, urllib3.exceptions.NewConnectionError):
        expired = state.deadline.exceeded(None if state.opened or state.reused else "connect")
        return wait_failure(expired, host, state.deadline, sent=state.sent)
    if isinstance(cause, (urllib3.exceptions.NameResolutionError, socket.gaierror)):
        return APIConnectionError(
            f"the host name {host!r} could not be resolved: check the address and the network", sent=False
        )
    if isinstance(cause, urllib3.exceptions.InvalidHeader):
        return InvalidResponseError(f"{host} sent headers that contradict each other")
    if isinstance(cause, MalformedChunkError):
        return InvalidResponseError(f"{host} sent a malformed body: {cause}")
    if isinstance(cause, MalformedHeadError):
        return InvalidResponseError(f"{host} sent malformed headers: {cause}")
    if isinstance(cause, http.client.HTTPException) and not isinstance(
        cause, (http.client.RemoteDisconnected, http.client.IncompleteRead)
    ):
        return InvalidResponseError(f"{host} did not answer in HTTP ({type(cause).__name__})")
    if isinstance(cause, (urllib3.exceptions.DecodeError, requests.exceptions.ContentDecodingError)):
        return InvalidResponseError(f"{host} sent a body that cannot be decompressed")
    return None


def certificate_failure(failure: BaseException) -> str | None:
    """Return OpenSSL's reason why the peer's certificate was refused; None for other failures."""
    for cause in chain(failure):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or "certificate verify failed"
        if isinstance(cause, CertificateError):  # raised when urllib3 itself compares the host names
            return str(cause)
    return None


def is_proxy_failure(failure: BaseException) -> bool:
    """Return True when the proxy failed, not the server behind it."""
    return any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in chain(failure))


def is_lost_connection(failure: BaseException) -> bool:
    """Return True when the peer closed or reset the connection; False when it was slow or sent malformed data."""
    return any(
        isinstance(cause, (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError))
        and not isinstance(cause, requests.exceptions.RequestException)
        for cause in chain(failure)
    )


def _tls_error(cause: ssl.SSLError, state: ConnectionState, host: str) -> GigaClientError:
    reason = (cause.reason or "").replace("_", " ").lower()
    if "alert" in reason and any(word in reason for word in ("certificate", "unknown ca", "handshake failure")):
        return TLSError(
            f"{host} refused the connection ({reason}): it asks for a client certificate, or does not accept the one "
            "that it got; pass cert_file and key_file",
            host=host,
            sent=state.sent,
        )
    if state.opened:
        return APIConnectionError(f"the TLS connection to {host} broke ({reason or 'unknown'})", sent=state.sent)
    hint = ": does that port speak TLS?" if "wrong version" in reason else ""
    return TLSError(f"the TLS handshake with {host} failed ({reason or 'unknown'}){hint}", host=host)


def _proxy_error(causes: list[BaseException], proxy: str) -> APIConnectionError:
    """Return the error for a proxy that failed; ``proxy`` is its address, with the user and the password masked."""
    refused = any(map(_is_refused_login, causes))
    reason = _login_advice(proxy) if refused else _proxy_reason(causes)
    error = APIConnectionError(f"the proxy {proxy} failed: {reason}", sent=False)
    error.retryable = not refused
    return error


def _is_refused_login(cause: BaseException) -> bool:
    if isinstance(cause, SocksError):
        return cause.of_login
    return type(cause) is OSError and str(cause).startswith("Tunnel connection failed: 407")


def _login_advice(proxy: str) -> str:
    scheme, _, rest = proxy.partition("://")
    status = "" if is_socks(proxy) else " (407)"
    if "@" in rest:
        return (
            f"it does not accept the user and the password of its address{status}: correct them, and write special "
            "characters as in a URL (@ as %40)"
        )
    return f'it asks for a user and a password{status}: pass proxy="{scheme}://user:password@host:port"'


def _proxy_reason(causes: list[BaseException]) -> str:
    for cause in causes:
        text = str(cause)
        if isinstance(cause, SocksError) or (type(cause) is OSError and text.startswith("Tunnel connection failed")):
            return text.lower()
        if isinstance(cause, MalformedHeadError):
            return f"it sent a malformed response: {text}"
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, http.client.RemoteDisconnected):
            return "it did not answer in HTTP"
    return _reason(causes)


def _connection_message(causes: list[BaseException], state: ConnectionState, host: str) -> str:
    if any(isinstance(cause, (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)) for cause in causes):
        return f"the answer of {host} was cut short"
    if state.received:
        return f"the connection to {host} broke before the answer was complete ({_reason(causes)})"
    if state.opened or state.reused:
        return f"{host} closed the connection without an answer ({_reason(causes)})"
    return f"no connection to {host} ({_reason(causes)})"


def _reason(causes: list[BaseException]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, requests.exceptions.RequestException):
            continue  # also an OSError, but its text may quote the request
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    for cause in causes:
        if isinstance(cause, (http.client.RemoteDisconnected, ssl.SSLEOFError, EOFError)):
            return "connection closed by the peer"
    # The type only: the text of a library's exception may quote headers.
    return type(causes[0]).__name__
