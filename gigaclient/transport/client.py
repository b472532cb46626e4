"""Requests out, replies in: one ``requests.Session`` per client, made to be shared by threads.

Nothing of it changes after construction. Headers, cookies and proxies travel with the request, never on the session;
the environment is read once, when the client is made; ``.netrc`` is never read. What differs per call is an argument.

A reply has two parties: the thread that reads it, and whoever closes it. The turn (see :class:`Reply`) says which of
them may touch the connection, so that it goes back to the pool or is closed, once, and never under somebody's hands.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.cookies import RequestsCookieJar
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import HTTPResponse

from gigaclient import forks
from gigaclient.errors import APIConnectionError, ConfigError, GigaClientError, InvalidResponseError, TLSError
from gigaclient.patience import Cancelled, Patience, Timeouts
from gigaclient.secret import Secret
from gigaclient.tls import Trust, issuer_of, system_context
from gigaclient.transport.adapter import TrustAdapter
from gigaclient.transport.chunked import ChunkedDecoder
from gigaclient.transport.failures import certificate_failure, is_lost_connection, is_proxy_failure, translate
from gigaclient.transport.head import Headers
from gigaclient.transport.outgoing import Outgoing, origin_of
from gigaclient.transport.wire import READ_BYTES, Exchange, exchanging

if TYPE_CHECKING:
    from gigaclient.hooks import Watch

__all__ = ["Reply", "Transport"]

# What is read may grow a thousandfold when it is decompressed, and before 2.6 urllib3 does that in one step.
_COMPRESSED_READ_BYTES = 2 * 1024
_PROBE_SECONDS = 5.0
_DRAIN_SECONDS = 0.1


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
        self._in_flight: set[Patience] = set()
        self._waiting: set[Patience] = set()
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

    def send(self, outgoing: Outgoing, patience: Patience) -> Reply:
        """Send one request and return when the answer's head is here.

        Raises:
            APIConnectionError, TLSError, APITimeoutError: no answer came; ``sent`` says whether the request left.
            InvalidResponseError: what came is not HTTP.
            ConfigError: this transport is closed.
        """
        self._begin(self._in_flight, patience)
        arrived = False
        try:
            reply = self._send(outgoing, patience)
            arrived = True
            return reply
        finally:
            if not arrived:
                self.forget(patience)

    def _send(self, outgoing: Outgoing, patience: Patience) -> Reply:
        exchange = Exchange(patience, fresh=outgoing.fresh)
        outcome, lost = self._try(outgoing, exchange)
        if lost and exchange.reused and not exchange.received and not patience.cancelled:
            # The server closed the idle connection while our request was on its way. It did not read it, as far as
            # HTTP can tell (RFC 9112, section 9.3.1), so it is sent again, once, on a connection of its own.
            exchange = Exchange(patience, fresh=True)
            outcome, _ = self._try(outgoing, exchange)
        if isinstance(outcome, GigaClientError):
            raise outcome
        return Reply(self, outgoing, outcome, exchange)

    def _try(self, outgoing: Outgoing, exchange: Exchange) -> tuple[requests.Response | GigaClientError, bool]:
        """The response or the error; and whether it is that the peer closed the connection.

        The error is returned, not raised, so that it has neither the library's as its context nor frames that hold it.
        """
        patience = exchange.patience
        patience.ran_out = None  # what an earlier try ran into is no concern of this one
        patience.begin("read", math.inf)
        proxy = self._proxies.get(origin_of(outgoing.url))
        try:
            if self._users_session is not None:
                # An adapter of the user's own does not tell what it has sent.
                exchange.sent = not isinstance(self._session.get_adapter(outgoing.url), TrustAdapter)
            with exchanging(exchange):
                response = self._session.send(
                    _prepare(outgoing, self._users_session),
                    stream=True,
                    allow_redirects=False,
                    timeout=(patience.timeouts.connect, patience.timeouts.read),
                    verify=True,
                    proxies={"http": proxy.reveal(), "https": proxy.reveal()} if proxy else {},
                )
            return response, False
        except GigaClientError as error:
            return error, False
        except Exception as error:  # whatever a library, an adapter or a hook of the user's raises becomes one of ours
            return self._explain(error, exchange, outgoing.url), is_lost_connection(error)
        finally:
            if exchange.opened:
                with self._lock:
                    self._opened += 1

    def _explain(self, failure: Exception, exchange: Exchange, url: str) -> GigaClientError:
        host = urlsplit(url).hostname or ""
        proxy = self._proxies.get(origin_of(url))
        shown = without_password(proxy) if proxy else None
        patience = exchange.patience
        reason = certificate_failure(failure)
        if reason is None or patience.ran_out or patience.cancelled:
            return translate(failure, exchange, host, shown)
        if proxy is not None and is_proxy_failure(failure):
            # Its certificate is of its own world: see TrustAdapter.
            return TLSError(
                f"the certificate of the proxy {shown} was refused: {reason}; believed for proxies: the public "
                "authorities of this system, or the file that REQUESTS_CA_BUNDLE names",
                host=urlsplit(proxy.reveal()).hostname,
            )
        issuer = self._issuer_met(url, proxy, patience)
        return TLSError(self.trust.explain(host, reason, issuer), host=host, issuer=issuer)

    def _issuer_met(self, url: str, proxy: Secret | None, patience: Patience) -> str | None:
        limit = min(_PROBE_SECONDS, patience.left())
        probe = Patience(Timeouts(limit, limit, deadline=limit))
        patience.on_cancel(probe.cancel)
        try:
            with exchanging(Exchange(probe)):
                presented = self._adapter.presented_certificate(url, proxy.reveal() if proxy else None)
            return issuer_of(presented) if presented is not None else None
        except Exception:  # the issuer is for the message alone, and the message can do without
            return None
        finally:
            patience.on_cancel(None)

    def forget(self, patience: Patience) -> None:
        """The call no longer waits for an answer."""
        self._in_flight.discard(patience)

    def waiting(self, patience: Patience) -> _Waiting:
        """A context for as long as the call waits for something else than an answer (a token, a place, its next try):
        :meth:`close` ends that wait, too.

        Raises, when it is entered:
            ConfigError: this transport is closed.
        """
        return _Waiting(self, patience)

    def _begin(self, calls: set[Patience], patience: Patience) -> None:
        calls.add(patience)
        if self._closed:
            calls.discard(patience)
            raise ConfigError("this client is closed: make a new one")

    def close(self) -> None:
        """Close every connection; whoever waits for an answer gets an error at once. More than once is no harm."""
        self._closed = True
        waiting = [*self._waiting, *self._in_flight]
        self._in_flight.clear()
        for patience in waiting:
            patience.cancel()
        if self._users_session is None:
            self._session.close()
        else:
            self._adapter.close()


class _Waiting:
    __slots__ = ("_patience", "_transport")

    def __init__(self, transport: Transport, patience: Patience) -> None:
        self._transport = transport
        self._patience = patience

    def __enter__(self) -> None:
        self._transport._begin(self._transport._waiting, self._patience)

    def __exit__(self, *exc_info: object) -> None:
        self._transport._waiting.discard(self._patience)


class Reply:
    """An answer whose head has arrived. Read it once, by :meth:`blocks` or :meth:`read`, or close it.

    Attributes:
        status: the HTTP status.
        headers: the headers, names in lower case, cookies left out; repeated ones are joined with a comma.
        cookies: the cookies that the answer sets, by name.
    """

    def __init__(
        self, transport: Transport, outgoing: Outgoing, response: requests.Response, exchange: Exchange
    ) -> None:
        self._transport = transport
        self._response = response
        self._exchange = exchange
        self._url = outgoing.url
        # Held by the thread that is inside a read, and kept for good by whoever ends the reply: only the holder may
        # touch the connection. Nobody ever waits for it, so a finaliser, a signal or a fork cannot get stuck here.
        self._turn = threading.Lock()
        self._done = False
        self.on_done: Callable[[], None] | None = None
        """Called once, when the reply needs its connection no longer."""
        self.watch: Watch | None = None
        """Whoever is told of the end of the call; see :mod:`gigaclient.hooks`."""
        self.body: bytes | None = None
        """The whole body, for those who read it in one piece."""
        self.status: int = response.status_code
        headers: Any = response.headers
        if not isinstance(headers, Headers):  # an adapter of the user's own may give any mapping
            headers = Headers(headers.items())
        self.headers: dict[str, str] = dict(headers.lower_items())
        self.headers.pop("set-cookie", None)

    @property
    def cookies(self) -> dict[str, Secret]:
        return {cookie.name: Secret(cookie.value or "") for cookie in self._response.cookies}

    @property
    def _host(self) -> str:
        return urlsplit(self._url).hostname or ""

    @property
    def patience(self) -> Patience:
        return self._exchange.patience

    @property
    def media_type(self) -> str:
        """The ``Content-Type`` without its parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def blocks(self) -> Generator[bytes, None, None]:
        """The body's bytes, each block as soon as it is in, decompressed.

        After the last block the connection has gone back to the pool. A generator that is dropped or closed early
        closes the connection.

        Raises:
            APIConnectionError: the connection broke, or the body ended before its announced length.
            APITimeoutError: a bound of the call's patience was reached.
            InvalidResponseError: the framing or the compression is malformed.
        """
        failure: GigaClientError | None = None
        try:
            if not self._done:
                yield from self._blocks()
        except Exception as error:
            failure = error if isinstance(error, GigaClientError) else translate(error, self._exchange, self._host)
        finally:
            if not self._done:
                self._end(keep_connection=False, reading_is_over=True)
        if failure is not None:
            raise failure

    def _blocks(self) -> Iterator[bytes]:
        response, headers = self._response, self.headers
        if getattr(response, "_content_consumed", False):  # by a hook of the user's session, which keeps it
            yield from self._kept(response.content)
            return
        raw = response.raw
        if "content-encoding" not in headers:
            # Straight from the connection: through http.client and urllib3 each block costs several steps more.
            source = getattr(getattr(raw, "_original_response", None), "fp", None)
            coding = headers.get("transfer-encoding", "").strip().lower()
            length = getattr(raw, "length_remaining", None)
            if source is not None and coding == "chunked":
                yield from self._chunked_blocks(source)
                return
            if source is not None and not coding and length is not None:
                yield from self._sized_blocks(source, length)
                return
        if not isinstance(raw, HTTPResponse):  # an adapter of the user's own, or a recorder's answer
            yield from response.iter_content(READ_BYTES)
            return
        size = _COMPRESSED_READ_BYTES if "content-encoding" in headers else READ_BYTES
        yield from self._received(functools.partial(raw.read1, size, decode_content=True))
        self._end(keep_connection=True)  # urllib3 has given it back already

    def _chunked_blocks(self, source: Any) -> Iterator[bytes]:
        decoder = ChunkedDecoder()
        for block in self._received_from(source):
            payload = decoder.feed(block)
            if decoder.ended:
                # Before the last block is handed on: whoever gets it may call again at once.
                self._end(keep_connection=not decoder.excess)
            if payload:
                yield payload
            if decoder.ended:
                return
        raise APIConnectionError(f"the answer of {self._host} was cut short")

    def _sized_blocks(self, source: Any, left: int) -> Iterator[bytes]:
        if not left:
            self._end(keep_connection=True)
            return
        for block in self._received_from(source):
            left -= len(block)
            if left > 0:
                yield block
                continue
            # What comes after the body belongs to no request of ours.
            self._end(keep_connection=left == 0)
            yield block[:left] if left else block
            return
        raise APIConnectionError(f"the answer of {self._host} was cut short")

    def _kept(self, body: bytes) -> Iterator[bytes]:
        self._end(keep_connection=True)
        if body:
            yield body

    def _received_from(self, source: Any) -> Iterator[bytes]:
        # One read empties the buffer that the head was read with. From then on it would only be in the way.
        past_buffer = getattr(getattr(source, "raw", None), "receive", None)
        return self._received(
            functools.partial(source.read1, READ_BYTES), past_buffer and functools.partial(past_buffer, READ_BYTES)
        )

    def _received(self, read: Callable[[], bytes], later: Callable[[], bytes] | None = None) -> Iterator[bytes]:
        """What ``read`` brings until it brings nothing more; after the first time, ``later`` takes its place."""
        turn, patience = self._turn, self.patience
        while True:
            if not turn.acquire(False):
                raise Cancelled("closed")
            try:
                block = read()
            finally:
                turn.release()
                if patience.cancelled:
                    # Whoever cancelled may have found the turn taken and left the rest to us.
                    self._end(keep_connection=False)
            if not block:
                return
            yield block
            read = later or read

    def read(self, limit: int) -> bytes:
        """The whole body, which has to be here within one read timeout from now.

        Raises:
            InvalidResponseError: it is longer than ``limit`` bytes; and what :meth:`blocks` raises.
        """
        self.patience.begin("read", self.patience.timeouts.read)
        body = self._read(limit + 1)
        if len(body) > limit:
            raise InvalidResponseError(
                f"the answer of {self._host} is larger than {limit} bytes", status_code=self.status
            )
        return body

    def read_some(self, limit: int) -> bytes:
        """The body's beginning, ``limit`` bytes at most, for an error's message; never fails."""
        self.patience.begin("read", min(self.patience.timeouts.read, _PROBE_SECONDS))
        try:
            return self._read(limit)[:limit]
        except GigaClientError:
            return b""

    def _read(self, limit: int) -> bytes:
        parts, length = [], 0
        with contextlib.closing(self.blocks()) as blocks:
            for block in blocks:
                parts.append(block)
                length += len(block)
                if length >= limit:
                    break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self, blocks: Iterator[bytes]) -> None:
        """After an end marker: read the few bytes that end the body, so that the connection can be used again.

        A server that keeps the body open does not get waited for.
        """
        if self._done:
            return
        self.patience.begin("read", _DRAIN_SECONDS)
        try:
            for _ in zip(range(8), blocks):  # noqa: B905 - the shorter one ends it
                continue
        except GigaClientError:
            return
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection up. From any thread; a read that is blocked in another one ends at once."""
        if not self._done:
            self.patience.cancel()
            self._end(keep_connection=False)

    def _end(self, *, keep_connection: bool, reading_is_over: bool = False) -> None:
        """Part with the connection, unless another thread is reading: that one does it when it comes out.

        ``reading_is_over`` is said by the one who read: an interrupt may have left the turn with nobody.
        """
        if not self._turn.acquire(blocking=False) and not reading_is_over:
            return
        self._done = True
        raw: Any = self._response.raw
        try:
            if not keep_connection:
                raw.close()
            else:
                raw._original_response.close()
                raw.release_conn()
        except (OSError, AttributeError):
            pass  # it was closed from the other side, or never had a connection
        finally:
            self._transport.forget(self.patience)
            # One step, so that it is called once even if an interrupt has us here twice.
            on_done = self.__dict__.pop("on_done", None)
            if on_done is not None:
                on_done()


def proxy_for(origin: str, proxy: str | None, session: requests.Session | None = None) -> Secret | None:
    """The proxy that requests to ``origin`` go through: ``proxy`` if given, else what the user's session says, else
    what the environment says.

    Raises:
        ConfigError: it is not the address of an HTTP proxy.
    """
    source, address = "proxy", Secret(proxy) if proxy is not None else None
    del proxy
    if address is None and session is not None:
        source, address = "the proxy of the session", _selected(origin, session.proxies)
    if address is None and (session is None or session.trust_env):
        source = "the proxy of the environment"
        address = _selected(origin, get_environ_proxies(origin + "/", no_proxy=None))
    if not address:
        return None
    if "://" not in address:
        address = Secret(f"http://{address.reveal()}")
    problem = _problem_with(address)
    if problem is not None:
        raise ConfigError(f"{source} {problem}")
    return address


def _selected(origin: str, proxies: Mapping[str, str]) -> Secret | None:
    found = select_proxy(origin + "/", dict(proxies))
    return Secret(found) if found else None


def _problem_with(proxy: Secret) -> str | None:
    # Returns, so that no frame that holds the password's parts is ever part of a traceback.
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
    """A URL that may be shown: user and password, if any, are masked."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"***@{host}" if "@" in parts.netloc else host, parts.path, "", ""))


def _prepare(outgoing: Outgoing, users_session: requests.Session | None) -> requests.PreparedRequest:
    # By hand: Session.prepare_request would merge cookies, read .netrc and look a dozen variables up for each call.
    prepared = requests.PreparedRequest()
    prepared.method = outgoing.method
    prepared.url = outgoing.url
    prepared.headers = Headers(outgoing.headers.items())  # type: ignore[assignment]
    prepared.body = outgoing.body
    if users_session is not None:
        prepared.prepare_hooks(getattr(users_session, "hooks", None) or {})
        prepared._cookies = RequestsCookieJar()  # for hooks that send it once more
    if outgoing.body is not None:
        prepared.headers["Content-Length"] = str(len(outgoing.body))
    elif outgoing.method not in ("GET", "HEAD"):
        prepared.headers["Content-Length"] = "0"
    return prepared
