"""Requests out, replies in: one ``requests.Session`` per client, made to be shared by threads.

Nothing of it changes after construction. Headers, cookies and proxies travel with the request, never on the session;
the environment is read once, when the client is made; ``.netrc`` is never read. What differs per call is an argument.

A reply has two parties: the thread that reads it, and whoever closes it. The turn (see :class:`Response`) says which of
them may touch the connection, so that it goes back to the pool or is closed, once, and never under somebody's hands.
"""

from __future__ import annotations

import math
import threading
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
from gigaclient.transport.request import HTTPRequest, origin_of
from gigaclient.transport.response import PROBE_SECONDS, Response
from gigaclient.transport.socket import ConnectionState, use_state
from gigaclient.transport.tls import Trust, issuer_of, system_context

__all__ = ["Transport"]


class _NoCookies(RequestsCookieJar):
    """Keeps none: what a server sets would travel with another thread's call."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        return


class Transport:
    """Sends requests to a few origins, each with the given trust, and gives their replies.

    Args:
        trust: whom to believe, at every origin alike.
        origins: ``scheme://host[:port]`` of the servers that will be talked to, and no others.
        proxy: a proxy URL for all of them; None to take what ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` say now.
        session: a session of the user's own to send through. It gets adapters for ``origins``, unless it has one
            mounted for them, and is not changed otherwise. Its ``proxies`` come before the environment's.

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
        # Here, and not when the first request needs it, because the environment is read once.
        tls_proxy = any(proxy is not None and proxy.lower().startswith("https:") for proxy in self._proxies.values())
        self._proxy_context = system_context() if tls_proxy else None
        if session is not None and session.verify is False and trust.kind != "insecure":
            raise ConfigError(
                "session.verify is False, which would believe anybody: set it to True, the client says whom to believe"
            )
        self._users_session = session
        self._lock = threading.Lock()  # guards the count of connections
        self._opened = 0
        # No lock for these, since a finaliser may forget a call while its own thread is in here: adding to a set and
        # taking from it are one step each. Whoever begins a call notes it first and looks at `_closed` then, and
        # close() does it the other way round, so one of the two sees the other.
        self._closed = False
        self._in_flight: set[Deadline] = set()
        self._waiting: set[Deadline] = set()
        self._session = self._make_session()
        forks.register(self)

    def _make_session(self) -> requests.Session:
        adapter = TrustAdapter(self.trust, self._context, self._proxy_context, late=self._users_session is None)
        session = self._users_session
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.cookies = _NoCookies()
            session.adapters.clear()  # no other host is ever talked to, and none is with this trust
        for origin in self.origins:
            # With the slash: "https://host" would also be the beginning of "https://host.example.org".
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
        """New locks and connections: the old ones are the parent's."""
        self._lock = threading.Lock()
        self._in_flight = set()
        self._waiting = set()
        if self._users_session is not None:
            for origin in self.origins:
                if self._users_session.adapters.get(origin + "/") is self._adapter:
                    del self._users_session.adapters[origin + "/"]
        if not self._closed:
            self._session = self._make_session()

    @property
    def connections_opened(self) -> int:
        """Connections made so far."""
        return self._opened

    @property
    def in_flight(self) -> int:
        """Calls that wait for an answer or are reading one."""
        return len(self._in_flight)

    @property
    def closed(self) -> bool:
        return self._closed

    def send(self, http_request: HTTPRequest, deadline: Deadline) -> Response:
        """Send one request and return when the answer's head is here.

        Raises:
            APIConnectionError, TLSError, APITimeoutError: no answer came; ``sent`` says whether the request left.
            InvalidResponseError: what came is not HTTP.
            ConfigError: this transport is closed.
        """
        self._begin(self._in_flight, deadline)
        arrived = False
        try:
            response = self._send(http_request, deadline)
            arrived = True
            return response
        finally:
            if not arrived:
                self.forget(deadline)

    def _send(self, http_request: HTTPRequest, deadline: Deadline) -> Response:
        state = ConnectionState(deadline, fresh=http_request.fresh)
        outcome, lost = self._try(http_request, state)
        if lost and state.reused and not state.received and not deadline.cancelled:
            # The server closed the idle connection while our request was on its way. It did not read it, as far as
            # HTTP can tell (RFC 9112, section 9.3.1), so it is sent again, once, on a connection of its own.
            state = ConnectionState(deadline, fresh=True)
            outcome, _ = self._try(http_request, state)
        if isinstance(outcome, GigaClientError):
            raise outcome
        return Response(http_request, outcome, state, self.forget)

    def _try(
        self, http_request: HTTPRequest, state: ConnectionState
    ) -> tuple[requests.Response | GigaClientError, bool]:
        """The response or the error; and whether it is that the peer closed the connection.

        The error is returned, not raised, so that it has neither the library's as its context nor frames that hold it.
        """
        deadline = state.deadline
        deadline.expired = None  # what an earlier try ran into is no concern of this one
        deadline.begin("read", math.inf)
        proxy = self._proxies.get(origin_of(http_request.url))
        try:
            if self._users_session is not None:
                # An adapter of the user's own does not tell what it has sent.
                state.sent = not isinstance(self._session.get_adapter(http_request.url), TrustAdapter)
            with use_state(state):
                response = self._session.send(
                    _prepare(http_request, self._users_session),
                    stream=True,
                    allow_redirects=False,
                    timeout=(deadline.timeouts.connect, deadline.timeouts.read),
                    verify=True,
                    proxies={"http": proxy.reveal(), "https": proxy.reveal()} if proxy else {},
                )
            return response, False
        except GigaClientError as error:
            return error, False
        except Exception as error:  # whatever a library, an adapter or a hook of the user's raises becomes one of ours
            return self._explain(error, state, http_request.url), is_lost_connection(error)
        finally:
            if state.opened:
                with self._lock:
                    self._opened += 1

    def _explain(self, failure: Exception, state: ConnectionState, url: str) -> GigaClientError:
        host = urlsplit(url).hostname or ""
        proxy = self._proxies.get(origin_of(url))
        shown = without_password(proxy) if proxy else None
        deadline = state.deadline
        reason = certificate_failure(failure)
        if reason is None or deadline.expired or deadline.cancelled:
            return translate(failure, state, host, shown)
        if proxy is not None and is_proxy_failure(failure):
            # Its certificate is of its own world: see TrustAdapter.
            return TLSError(
                f"the certificate of the proxy {shown} was refused: {reason}; believed for proxies: the public "
                "authorities of this system, or the file that REQUESTS_CA_BUNDLE names",
                host=urlsplit(proxy.reveal()).hostname,
            )
        issuer = self._issuer_met(url, proxy, deadline)
        return TLSError(self.trust.explain(host, reason, issuer), host=host, issuer=issuer)

    def _issuer_met(self, url: str, proxy: Secret | None, deadline: Deadline) -> str | None:
        limit = min(PROBE_SECONDS, deadline.left())
        probe = Deadline(Timeouts(limit, limit, deadline=limit))
        deadline.on_cancel(probe.cancel)
        try:
            with use_state(ConnectionState(probe)):
                presented = self._adapter.presented_certificate(url, proxy.reveal() if proxy else None)
            return issuer_of(presented) if presented is not None else None
        except Exception:  # the issuer is for the message alone, and the message can do without
            return None
        finally:
            deadline.on_cancel(None)

    def forget(self, deadline: Deadline) -> None:
        """The call no longer waits for an answer."""
        self._in_flight.discard(deadline)

    def waiting(self, deadline: Deadline) -> _Waiting:
        """A context for as long as the call waits for something else than an answer (a token, a place, its next try):
        :meth:`close` ends that wait, too.

        Raises, when it is entered:
            ConfigError: this transport is closed.
        """
        return _Waiting(self, deadline)

    def _begin(self, calls: set[Deadline], deadline: Deadline) -> None:
        calls.add(deadline)
        if self._closed:
            calls.discard(deadline)
            raise ConfigError("this client is closed: make a new one")

    def close(self) -> None:
        """Close every connection; whoever waits for an answer gets an error at once. More than once is no harm."""
        self._closed = True
        waiting = [*self._waiting, *self._in_flight]
        self._in_flight.clear()
        for deadline in waiting:
            deadline.cancel()
        if self._users_session is None:
            self._session.close()
        else:
            self._adapter.close()


class _Waiting:
    __slots__ = ("_deadline", "_transport")

    def __init__(self, transport: Transport, deadline: Deadline) -> None:
        self._transport = transport
        self._deadline = deadline

    def __enter__(self) -> None:
        self._transport._begin(self._transport._waiting, self._deadline)

    def __exit__(self, *exc_info: object) -> None:
        self._transport._waiting.discard(self._deadline)


def _prepare(http_request: HTTPRequest, users_session: requests.Session | None) -> requests.PreparedRequest:
    # By hand: Session.prepare_request would merge cookies, read .netrc and look a dozen variables up for each call.
    prepared = requests.PreparedRequest()
    prepared.method = http_request.method
    prepared.url = http_request.url
    prepared.headers = HeaderDict(http_request.headers.items())  # type: ignore[assignment]
    prepared.body = http_request.body
    if users_session is not None:
        prepared.prepare_hooks(getattr(users_session, "hooks", None) or {})
        prepared._cookies = RequestsCookieJar()  # for hooks that send it once more
    if http_request.body is not None:
        prepared.headers["Content-Length"] = str(len(http_request.body))
    elif http_request.method not in ("GET", "HEAD"):
        prepared.headers["Content-Length"] = "0"
    return prepared
