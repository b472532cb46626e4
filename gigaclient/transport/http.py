"""The HTTP transport: one ``requests.Session`` per client, shared by all threads.

It does not change after construction. Headers, cookies and proxies belong to the request, never to the session. The
environment is read once, when the client is made; ``.netrc`` is never read. What differs per call is an argument.

A response is used by the thread that reads it and by any thread that closes it. The read lock of :class:`Response`
decides which of them may touch the connection, so it is returned to the pool or closed exactly once.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.cookies import RequestsCookieJar

from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.deadline import Deadline, Timeouts
from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError, GigaClientError, TLSError
from gigaclient.transport.adapter import TrustAdapter
from gigaclient.transport.errors import certificate_failure, is_lost_connection, is_proxy_failure, translate
from gigaclient.transport.headers import HeaderDict
from gigaclient.transport.proxies import proxy_for, without_password
from gigaclient.transport.request import Request, RetrySafety, origin_of
from gigaclient.transport.response import PROBE_SECONDS, Response
from gigaclient.transport.socket import ConnectionState, use_state
from gigaclient.transport.tls import Trust, issuer_of, system_context

__all__ = ["Transport"]


class _NoCookies(RequestsCookieJar):
    """Stores no cookies, because they would be sent with the calls of other threads."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Ignore the cookies of a response."""
        return


class Transport:
    """Sends requests to a few origins with one trust, and returns their responses.

    Args:
        trust: the trusted certificates, for every origin.
        origins: ``scheme://host[:port]`` of the only servers that requests may be sent to.
        proxy: a proxy URL for all of them; None uses the present ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.
        session: the user's session to send through. It gets adapters for ``origins``, unless it has one
            mounted for them, and is not changed otherwise. Its ``proxies`` override the environment's.

    Raises:
        ConfigError: a file of ``trust`` or the proxy cannot be used, or the session contradicts ``trust``.
    """

    def __init__(
        self,
        trust: Trust,
        origins: tuple[str, ...],
        *,
        proxy: str | None = None,
        session: requests.Session | None = None,
    ) -> None:
        proxy = Secret(proxy) if proxy is not None else None
        self.trust = trust
        self._context = trust.make_context()
        self.origins = origins
        self._proxies = {origin: proxy_for(origin, proxy, session) for origin in origins}
        # Created now and not at the first request, because the environment is read once.
        tls_proxy = any(proxy is not None and proxy.lower().startswith("https:") for proxy in self._proxies.values())
        self._proxy_context = system_context() if tls_proxy else None
        if session is not None and session.verify is False and trust.mode != "insecure":
            raise ConfigError(
                "session.verify is False, which disables certificate checks: set it to True and choose with trust="
            )
        self._users_session = session
        self._lock = threading.Lock()  # guards the count of connections
        self._opened = 0
        # The calls that close() cancels. No lock guards the set, because a finaliser may call `forget` while its own
        # thread is in here: adding to a set and discarding from it are atomic. `register` adds the call first and then
        # checks `_closed`; close() sets `_closed` first and then reads the set. So one always sees the other.
        self._closed = False
        self._active: set[Deadline] = set()
        self._session = self._make_session()
        forks.register(self)

    def _make_session(self) -> requests.Session:
        adapter = TrustAdapter(self.trust, self._context, self._proxy_context, lazy=self._users_session is None)
        session = self._users_session
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.cookies = _NoCookies()
            session.adapters.clear()  # requests to any other host must fail
        for origin in self.origins:
            # The slash is needed: "https://host" is also a prefix of "https://host.example.org".
            if self._users_session is None or not self._mounted(session, origin):
                session.mount(origin + "/", adapter)
        self._adapter = adapter
        return session

    def _mounted(self, session: requests.Session, origin: str) -> bool:
        for prefix, adapter in session.adapters.items():
            if len(prefix) > len("https://") and f"{origin}/".lower().startswith(prefix.lower()):
                if isinstance(adapter, TrustAdapter) and adapter.trust != self.trust:
                    raise ConfigError(f"the session serves {origin} for a client with another trust: use two sessions")
                return True
        return False

    def after_fork_in_child(self) -> None:
        """Replace locks and connections, because the old ones belong to the parent."""
        self._lock = threading.Lock()
        self._active = set()
        if self._users_session is not None:
            for origin in self.origins:
                if self._users_session.adapters.get(origin + "/") is self._adapter:
                    del self._users_session.adapters[origin + "/"]
        if not self._closed:
            self._session = self._make_session()

    @property
    def connections_opened(self) -> int:
        """The number of connections made so far."""
        return self._opened

    @property
    def in_flight(self) -> int:
        """The number of calls that wait for a response or read one."""
        return sum(deadline.in_flight for deadline in tuple(self._active))

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return self._closed

    def send(self, request: Request, url: str, headers: Mapping[str, str], deadline: Deadline) -> Response:
        """Send one request and return the response when its headers have arrived.

        Raises:
            APIConnectionError, TLSError, APITimeoutError: no response; ``sent`` says if the request may have left.
            InvalidResponseError: the response is not HTTP.
            ConfigError: this transport is closed.
        """
        self.register(deadline)
        deadline.in_flight = True
        try:
            return self._send(request, url, headers, deadline)
        except BaseException:
            self.forget(deadline)
            raise

    def _send(self, request: Request, url: str, headers: Mapping[str, str], deadline: Deadline) -> Response:
        # The server may close an idle connection at this moment. Then it is unknown whether it read the request, so a
        # request that must not be sent twice gets a new connection.
        state = ConnectionState(deadline, fresh=request.retry_safety is RetrySafety.NON_IDEMPOTENT)
        prepared = _prepare(request, url, headers, self._users_session)
        result, lost = self._send_once(prepared, state)
        if lost and state.reused and not state.received and not deadline.cancelled:
            # The server closed the idle connection while our request was on its way. As far as HTTP can tell, it did
            # not read the request (RFC 9112, section 9.3.1), so send it again, once, on a new connection.
            state = ConnectionState(deadline, fresh=True)
            result, _ = self._send_once(_prepare(request, url, headers, self._users_session), state)
        if isinstance(result, GigaClientError):
            raise result
        return Response(url, result, state, self.forget)

    def _send_once(
        self, prepared: requests.PreparedRequest, state: ConnectionState
    ) -> tuple[requests.Response | GigaClientError, bool]:
        """Return the response or the error, and True if the error is that the peer closed the connection.

        The error is returned, not raised: neither its context nor its traceback may hold the library's exception.
        """
        deadline = state.deadline
        deadline.expired = None  # a timeout of an earlier attempt does not concern this one
        deadline.begin("read", math.inf)
        url = str(prepared.url)
        proxy = self._proxies.get(origin_of(url))
        try:
            if self._users_session is not None:
                # A user's adapter does not report what it has sent, so assume that it sent something.
                state.sent = not isinstance(self._session.get_adapter(url), TrustAdapter)
            with use_state(state):
                response = self._session.send(
                    prepared,
                    stream=True,
                    allow_redirects=False,
                    timeout=(deadline.timeouts.connect, deadline.timeouts.read),
                    verify=True,
                    proxies={"http": proxy.reveal(), "https": proxy.reveal()} if proxy else {},
                )
            return response, False
        except GigaClientError as error:
            return error, False
        except Exception as error:  # a library, a user's adapter or a user's hook may raise anything
            return self._translate(error, state, url), is_lost_connection(error)
        finally:
            if state.opened:
                with self._lock:
                    self._opened += 1

    def _translate(self, failure: Exception, state: ConnectionState, url: str) -> GigaClientError:
        host = urlsplit(url).hostname or ""
        proxy = self._proxies.get(origin_of(url))
        masked_proxy = without_password(proxy) if proxy else None
        deadline = state.deadline
        reason = certificate_failure(failure)
        if reason is None or deadline.expired or deadline.cancelled:
            return translate(failure, state, host, masked_proxy)
        if proxy is not None and is_proxy_failure(failure):
            # The pin is not for the proxy: see TrustAdapter.
            return TLSError(
                f"the certificate of the proxy {masked_proxy} was refused: {reason}; trusted for proxies: the public "
                "authorities of this system, or the file that REQUESTS_CA_BUNDLE names",
                host=urlsplit(proxy.reveal()).hostname,
            )
        issuer = self._fetch_issuer(url, proxy, deadline)
        return TLSError(self.trust.explain(host, reason, issuer), host=host, issuer=issuer)

    def _fetch_issuer(self, url: str, proxy: Secret | None, deadline: Deadline) -> str | None:
        limit = min(PROBE_SECONDS, deadline.left())
        probe = Deadline(Timeouts(limit, limit, deadline=limit))
        deadline.on_cancel(probe.cancel)
        try:
            with use_state(ConnectionState(probe)):
                presented = self._adapter.presented_certificate(url, proxy.reveal() if proxy else None)
            return issuer_of(presented) if presented is not None else None
        except Exception:  # the issuer only improves the error message
            return None
        finally:
            deadline.on_cancel(None)

    def register(self, deadline: Deadline) -> None:
        """Register a call that is about to wait, so that :meth:`close` cancels it.

        It is called before each wait, because the end of a nested call, such as a token fetch, removes the call.

        Raises:
            ConfigError: this transport is closed.
        """
        self._active.add(deadline)
        if self._closed:
            self._active.discard(deadline)
            raise ConfigError("this client is closed: make a new one")

    def forget(self, deadline: Deadline) -> None:
        """Remove the call after it or its response has ended."""
        deadline.in_flight = False
        self._active.discard(deadline)

    @contextlib.contextmanager
    def waiting(self, deadline: Deadline) -> Iterator[None]:
        """Register the call for a wait that sends no request, such as the pause between two polls."""
        self.register(deadline)
        try:
            yield
        finally:
            self._active.discard(deadline)

    def close(self) -> None:
        """Close every connection; calls that wait fail at once. Safe to call more than once."""
        self._closed = True
        for deadline in tuple(self._active):
            self.forget(deadline)
            deadline.cancel()
        if self._users_session is None:
            self._session.close()
        else:
            self._adapter.close()


def _prepare(
    request: Request, url: str, headers: Mapping[str, str], users_session: requests.Session | None
) -> requests.PreparedRequest:
    # Session.prepare_request would merge cookies, read .netrc and look up a dozen variables for each call.
    prepared = requests.PreparedRequest()
    prepared.method = request.method
    prepared.url = url
    prepared.headers = HeaderDict(headers.items())  # type: ignore[assignment]
    prepared.body = request.body
    if users_session is not None:
        prepared.prepare_hooks(getattr(users_session, "hooks", None) or {})
        prepared._cookies = RequestsCookieJar()  # for hooks that send the request again
    if request.body is not None:
        prepared.headers["Content-Length"] = str(len(request.body))
    elif request.method not in ("GET", "HEAD"):
        prepared.headers["Content-Length"] = "0"
    return prepared
