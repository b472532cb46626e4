"""The HTTP transport: one ``requests.Session`` per client, shared by all threads.

It does not change after construction. Headers, cookies and proxies belong to the request, never to the session. The
environment is read once, when the client is made; ``.netrc`` is never read. What differs per call is an argument.

A response is used by the thread that reads it and by any thread that closes it. The read lock of :class:`Response`
decides which of them may touch the connection, so it is returned to the pool or closed exactly once.
"""

from __future__ import annotations

import contextlib
import math
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from weakref import ref

from gigaclient.transport.tls_handshake import Context

try:
    import requests
except ssl.SSLError:  # requests 2.32.0 to 2.32.4 makes a context when it is imported
    Context(ssl.PROTOCOL_TLS_CLIENT)  # raises our own error
    raise
from requests import Response as OriginalResponse
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPResponse

from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.deadline import Deadline
from gigaclient._primitives.foreign_errors import ForeignError, foreign_error
from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.transport.adapter import PinnedPools
from gigaclient.transport.certificates import refused_certificate
from gigaclient.transport.errors import certificate_failure, is_lost_connection, is_proxy_failure, translate
from gigaclient.transport.proxies import proxy_for, without_password
from gigaclient.transport.request import Request, RetrySafety, origin_of
from gigaclient.transport.response import HeaderDict, Response
from gigaclient.transport.socket import ConnectionState, this_thread
from gigaclient.transport.tls import Trust, system_context

__all__ = ["Transport", "TrustAdapter"]

# The longest time between the end of a request and the arrival of a response that the server sent before it.
_CROSSING_SECONDS = 1.0

# The attributes of a new response, without three that are expensive and rarely needed.
_RESPONSE_DEFAULTS = {
    name: value for name, value in vars(OriginalResponse()).items() if name not in ("cookies", "encoding", "headers")
}


class _FinalResponse(OriginalResponse):
    """A response that is never followed as a redirect, with headers, cookies and encoding computed at the first use.

    Even with ``allow_redirects=False``, ``Session.send`` prepares the next request of a redirect: it reads the whole
    body, however long, parses the address and reads ``.netrc``.
    """

    is_redirect = False
    lowered: dict[str, str] | None
    """The headers by their names in lower case, if they were parsed here."""

    def __getattr__(self, name: str) -> Any:
        if name == "headers":
            self.headers = HeaderDict(self.raw.headers.itermerged())
            return self.headers
        if name == "cookies":
            self.cookies = RequestsCookieJar()
            if "set-cookie" in self.headers:
                extract_cookies_to_jar(self.cookies, self.request, self.raw)
            return self.cookies
        if name == "encoding":
            self.encoding = get_encoding_from_headers(self.headers)
            return self.encoding
        raise AttributeError(name)


class TrustAdapter(PinnedPools):
    """The steps of ``requests`` and urllib3 for each request, without those that a call does not need."""

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Refuse ``verify=False`` when certificates are checked; ignore the rest: the TLS context defines the trust."""
        if verify is False and self.trust.mode != "insecure":
            # On a shared context this would switch verification off for every other thread as well.
            raise ConfigError("verify=False is refused here: the certificate is pinned")

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """Return the connection pool for a request, cached by origin when there is no proxy."""
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        # In requests, looking the pool up costs more than the rest of a call.
        url: str = request.url
        origin = url[: url.find("/", len("https://"))]
        pool = self._pools.get(origin)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            pool = self._pools.setdefault(origin, pool)
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        """Return the request target; without a proxy it is the path."""
        if proxies:
            return super().request_url(request, proxies)
        path_url: str = request.path_url
        return path_url

    def build_response(self, req: Any, resp: Any) -> OriginalResponse:
        """Build the response object; a cheaper one when our transport sends the request."""
        if this_thread.state is None or not isinstance(resp, HTTPResponse):
            return super().build_response(req, resp)
        resp.chunked = False  # HeadResponse removes the chunks; urllib3 would do it itself, less strictly
        response = _FinalResponse.__new__(_FinalResponse)
        response.__dict__.update(
            _RESPONSE_DEFAULTS,
            status_code=resp.status,
            raw=resp,
            reason=resp.reason,
            url=req.url,
            history=[],
            request=req,
            connection=self,
            lowered=None,
        )
        if self._lazy:
            response.lowered = getattr(resp._original_response, "lowered", None)
        else:
            # A user's session may convert it to another class, which does not compute attributes lazily.
            for name in ("headers", "cookies", "encoding"):
                getattr(response, name)
        return response


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
        found = {origin: proxy_for(origin, proxy, session) for origin in origins}
        self._proxies = found if any(found.values()) else {}
        # Created now and not at the first request, because the environment is read once.
        tls_proxy = any(proxy is not None and proxy.lower().startswith("https:") for proxy in found.values())
        self._proxy_context = system_context() if tls_proxy else None
        if session is not None and session.verify is False and trust.mode != "insecure":
            raise ConfigError(
                "session.verify is False, which disables certificate checks: set it to True and choose with trust="
            )
        self._users_session = session
        self._lock = threading.RLock()  # guards the count of connections
        self._opened = 0
        # The registry of active calls, which close() and cancel groups cancel. No lock guards the set, because a
        # finaliser may call `forget` while its own thread is in here: adding to a set and discarding from it are
        # atomic. `register` adds the call first and then checks `closed`; close() sets `closed` first and then reads
        # the set. So one always sees the other. The references are weak: an interrupt may prevent `forget`, but not
        # that the call is dropped.
        self.closed = False
        self._active: set[ref[Deadline]] = set()
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
        self._lock = threading.RLock()
        self._active = set()
        if self._users_session is not None:
            for origin in self.origins:
                if self._users_session.adapters.get(origin + "/") is self._adapter:
                    del self._users_session.adapters[origin + "/"]
        if not self.closed:
            self._session = self._make_session()

    @property
    def connections_opened(self) -> int:
        """The number of connections made so far."""
        return self._opened

    @property
    def in_flight(self) -> int:
        """The number of calls that wait for a response or read one."""
        return sum(deadline.in_flight for deadline in self.active_calls())

    def active_calls(self) -> tuple[Deadline, ...]:
        """Return the registered calls."""
        return tuple(deadline for reference in tuple(self._active) if (deadline := reference()) is not None)

    def send(self, request: Request, url: str, headers: Mapping[str, str], deadline: Deadline) -> Response:
        """Send one request and return the response when its headers have arrived.

        Raises:
            APIConnectionError, TLSError, APITimeoutError: no response; ``sent`` says if the request may have left.
            InvalidResponseError: the response is not HTTP.
            ConfigError: this transport is closed.
        """
        try:
            self.register(deadline)
            deadline.in_flight = True
            # The server may close an idle connection at this moment. Then it is unknown whether it read the request, so
            # a request that must not be sent twice gets a new connection.
            state = ConnectionState(deadline, fresh=request.retry_safety is RetrySafety.NON_IDEMPOTENT)
            result, lost = self._send_once(request, url, headers, state)
            if lost and state.reused and not deadline.cancelled:
                # The server closed the idle connection while our request was on its way. As far as HTTP can tell, it
                # did not read the request (RFC 9112, section 9.3.1), so send it again, once, on a new connection.
                if isinstance(result, OriginalResponse):
                    result.close()
                state = ConnectionState(deadline, fresh=True)
                result, _ = self._send_once(request, url, headers, state)
            if isinstance(result, GigaClientError):
                raise result
            return Response(url, result, state, self.forget)
        except BaseException:
            self.forget(deadline)
            raise

    def _send_once(
        self, request: Request, url: str, headers: Mapping[str, str], state: ConnectionState
    ) -> tuple[OriginalResponse | GigaClientError, bool]:
        """Return the response or the error, and True if the server closed the connection without reading the request.

        The error is returned, not raised: neither its context nor its traceback may hold the library's exception.
        """
        deadline = state.deadline
        deadline.expired = None  # a timeout of an earlier attempt does not concern this one
        deadline.begin("read", math.inf)
        proxy = self._proxies.get(origin_of(url)) if self._proxies else None
        prepared = _prepare(request, url, headers, self._users_session)
        outer = this_thread.state
        try:
            if self._users_session is not None:
                # A user's adapter does not report what it has sent, so assume that it sent something.
                state.sent = not isinstance(self._session.get_adapter(url), TrustAdapter)
            this_thread.state = state
            response = self._session.send(
                prepared,
                stream=True,
                allow_redirects=False,
                timeout=(deadline.timeouts.connect, deadline.timeouts.read),
                verify=True,
                proxies={"http": proxy, "https": proxy} if proxy else {},  # secrets, because frames below hold them
            )
            return response, response.status_code == 408 and _is_idle_timeout(response, state)
        except GigaClientError as error:
            return error, False
        except (Exception, ForeignError) as error:  # a library, a user's adapter or a user's hook may raise anything
            failure = error
        finally:
            this_thread.state = outer
            if state.opened:
                with self._lock:
                    self._opened += 1
        foreign = foreign_error(failure)
        try:
            if foreign is not None:
                raise foreign
            return self._translate(failure, state, url, proxy), is_lost_connection(failure) and not state.received
        finally:
            del failure, foreign  # their traceback refers to this frame, and a cycle would keep the socket

    def _translate(
        self, failure: BaseException, state: ConnectionState, url: str, proxy: Secret | None
    ) -> GigaClientError:
        deadline = state.deadline
        reason = certificate_failure(failure)
        if reason is None or deadline.expired or deadline.cancelled:
            host = urlsplit(url).hostname or ""
            return translate(failure, state, host, without_password(proxy) if proxy else None)
        return refused_certificate(
            reason, url, proxy, of_proxy=is_proxy_failure(failure), pools=self._adapter, deadline=deadline
        )

    def register(self, deadline: Deadline) -> None:
        """Register a call that is about to wait, so that :meth:`close` and its cancel group can cancel it.

        It is called before each wait, because the end of a nested call, such as a token fetch, removes the call.

        Raises:
            ConfigError: this transport is closed.
        """
        self._active.add(ref(deadline, self._active.discard))
        if self.closed:
            self._active.discard(ref(deadline))
            raise ConfigError("this client is closed: make a new one")
        if deadline.group is not None and deadline.group.cancelled:
            deadline.cancel()

    def forget(self, deadline: Deadline) -> None:
        """Remove the call after it or its response has ended."""
        deadline.in_flight = False
        self._active.discard(ref(deadline))

    @contextlib.contextmanager
    def waiting(self, deadline: Deadline) -> Iterator[None]:
        """Register the call for a wait that sends no request, such as the pause between two polls."""
        self.register(deadline)
        try:
            yield
        finally:
            self._active.discard(ref(deadline))

    def close(self) -> None:
        """Close every connection; calls that wait fail at once. Safe to call more than once."""
        self.closed = True
        for deadline in self.active_calls():
            self.forget(deadline)
            deadline.cancel()
        if self._users_session is None:
            self._session.close()
        else:
            self._adapter.close()


def _is_idle_timeout(response: OriginalResponse, state: ConnectionState) -> bool:
    """Return True for a 408 that ends an idle connection: it was on its way when the request was sent.

    A 408 to the request itself says that its rest did not come in time, so it takes longer.
    """
    deadline = state.deadline
    closes = getattr(getattr(response.raw, "_original_response", None), "will_close", False)
    return state.reused and closes and deadline.now() - deadline.began_at < _CROSSING_SECONDS


def _prepare(
    request: Request, url: str, headers: Mapping[str, str], users_session: requests.Session | None
) -> requests.PreparedRequest:
    # Session.prepare_request would merge cookies, read .netrc and look up a dozen variables for each call.
    pairs = [*headers.items()]
    body = request.body
    if body is not None:
        if not isinstance(body, bytes):
            body.seek(0)  # an earlier attempt has read it
        pairs.append(("Content-Length", str(len(body))))
    elif request.method not in ("GET", "HEAD"):
        pairs.append(("Content-Length", "0"))
    prepared = requests.PreparedRequest()
    prepared.method = request.method
    prepared.url = url
    prepared.headers = HeaderDict(pairs)  # type: ignore[assignment]
    prepared.body = body
    if users_session is not None:
        prepared.prepare_hooks(getattr(users_session, "hooks", None) or {})
        prepared._cookies = RequestsCookieJar()  # for hooks that send the request again
    return prepared
