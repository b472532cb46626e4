"""The one road on which every call goes: a place in the queue, a credential, the request, and another try if it helps.

Resources describe *what* a call is; everything that cuts across calls (tokens, retries, deadlines, limits, errors,
request ids, logs) happens here and nowhere else, so that no endpoint can forget any of it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec
import msgspec.structs

from gigaclient import transport
from gigaclient._core.error_mapping import status_error
from gigaclient._core.limiter import Limiter, Permit
from gigaclient._core.retry import RetryPolicy
from gigaclient._primitives.deadline import Cancelled, Exhausted, Patience, Scope, Timeouts
from gigaclient._primitives.ids import new_id
from gigaclient.auth.token_manager import Credential, TokenCache
from gigaclient.errors import APIConnectionError, APIStatusError, ConfigError, GigaClientError

if TYPE_CHECKING:
    from gigaclient._core.observer import Hooks, Watch
    from gigaclient.transport import Reply, Transport

from gigaclient._core.request_options import CallOptions
from gigaclient._core.responses import Answered
from gigaclient.transport.request import EVENT_STREAM, Call, Outgoing, Repeat, origin_of

__all__ = ["MAX_ANSWER_BYTES", "Core", "Stats"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_MAX_ID_CHARACTERS = 200

_log = logging.getLogger("gigaclient")


class Stats(NamedTuple):
    """A look at a client: ``giga.stats()``.

    Attributes:
        in_flight: calls that wait for an answer or are reading one.
        waiting: calls that queue for a place.
        limit: how many may be under way at once; ``inf`` while no limit is known.
        tokens_fetched: access tokens fetched so far.
        retries: tries after the first one, of all calls so far.
        connections: connections opened so far.
    """

    in_flight: int
    waiting: int
    limit: float
    tokens_fetched: int
    retries: int
    connections: int


class Core:
    """Sends calls for one account at one base URL.

    Args:
        transport: the wire.
        base_url: what a call's path is appended to.
        tokens: the account's credential; None where the connection itself proves who we are.
        authorize: the headers that a credential turns into.
        refuses: whether an error answer means that the credential is no longer good.
        explain: the error for an error status as this service's users need it worded.
        hooks: who is told of the calls; None when nobody is, as with most clients.
        limiter: the account's queue.
        retry: when to try again.
        timeouts: the patience of a call that does not bring its own.
        headers: headers of every call.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        base_url: str,
        tokens: TokenCache | None,
        authorize: Callable[[Credential], dict[str, str]],
        limiter: Limiter,
        retry: RetryPolicy,
        timeouts: Timeouts,
        headers: Mapping[str, str],
        refuses: Callable[[Reply], bool] = lambda reply: reply.status == 401,
        explain: Callable[[APIStatusError], APIStatusError] = lambda error: error,
        hooks: Hooks | None = None,
    ) -> None:
        self.transport = transport
        self.base_url = base_url
        self.tokens = tokens
        self.limiter = limiter
        self.retry = retry
        self.timeouts = timeouts
        self.hooks = hooks
        self.scope: Scope | None = None
        self._authorize = authorize
        self._refuses = refuses
        self._explain = explain
        self._headers = headers
        self._host = urlsplit(base_url).hostname or ""
        self._retries = 0

    def with_policy(self, retry: RetryPolicy, timeouts: Timeouts) -> Core:
        """A core that shares the wire, the credential and the queue, with another patience."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, retry=retry, timeouts=timeouts)
        return copy

    def within(self, scope: Scope) -> Core:
        """A core that shares everything, and whose calls ``scope`` counts and can end."""
        copy = self.with_policy(self.retry, self.timeouts)
        copy.scope = scope
        return copy

    def begin(self, patience: Patience) -> None:
        """A call or a wait begins, which whoever gives up the work that it is part of can end."""
        if self.scope is not None:
            self.scope.begin(patience)

    def stats(self) -> Stats:
        """How things stand."""
        return Stats(
            in_flight=self.transport.in_flight,
            waiting=self.limiter.waiting,
            limit=self.limiter.limit,
            tokens_fetched=self.tokens.fetched if self.tokens is not None else 0,
            retries=self._retries,
            connections=self.transport.connections_opened,
        )

    def fetch(
        self,
        call: Call,
        options: CallOptions,
        *,
        limit: int = MAX_ANSWER_BYTES,
        patience: Patience | None = None,
    ) -> Answered:
        """Send ``call`` and read the whole answer; an error status raises.

        ``patience`` is given where this call is part of another one, as fetching a token is.

        Raises:
            GigaClientError: any of them, with ``attempts`` saying what was tried.
        """
        if patience is None:
            patience = Patience(options.timeouts or self.timeouts)
        watch = None if self.hooks is None else self._watch(self.hooks, call, stream=False)
        try:
            reply, request_id = self._open(call, options, patience, watch, stream=False, limit=limit)
            answered = Answered(reply.body or b"", reply.status, reply.headers, request_id, reply.cookies)
        except BaseException as error:
            if watch is not None:
                watch.end(error)
            raise
        if watch is not None:
            self._tell_end(watch, call, answered)
        return answered

    def open(self, call: Call, options: CallOptions) -> tuple[Reply, str]:
        """Send ``call`` and return when the head of a good answer is here: the reply, unread, and the request's id.

        Whoever takes the reply reads it to its end or closes it. Errors and retries happen here, before the first byte
        of the body, and never after it.
        """
        watch = None if self.hooks is None else self._watch(self.hooks, call, stream=True)
        patience = Patience(options.timeouts or self.timeouts)
        try:
            reply, request_id = self._open(call, options, patience, watch, stream=True, limit=0)
        except BaseException as error:
            if watch is not None:
                watch.end(error)
            raise
        if watch is not None:
            reply.watch = watch  # where a stream finds it
        return reply, request_id

    @staticmethod
    def blocks(reply: Reply) -> Generator[bytes, None, None]:
        """The body of a reply of :meth:`open` that is no event stream, as it comes; its end is told."""
        return reply.blocks() if reply.watch is None else reply.watch.observed(reply.blocks())

    # -- whoever watches ---------------------------------------------------------------------------------------------

    def _watch(self, hooks: Hooks, call: Call, *, stream: bool) -> Watch:
        from gigaclient._core.observer import Watch  # few programs watch

        body = call.body if call.content_type == "application/json" else None
        return Watch(hooks, method=call.method, body=body, is_stream=stream)

    def _tell_end(self, watch: Watch, call: Call, answered: Answered) -> None:
        from gigaclient._core.observer import told_in

        told = None
        failure: GigaClientError | None = None
        if watch.reads_answers and call.accept == "application/json":
            # As whoever asked is about to find.
            told = told_in(answered.body)
            if told is None:
                failure = answered.invalid("not JSON")
            elif told.may_be_an_error:
                failure = answered.refusal()
        watch.end(failure, answer=told)

    @staticmethod
    def tell_failure(reply: Reply, failure: GigaClientError) -> None:
        """Tell whoever watches that ``reply``, of :meth:`open`, is not what was asked for and will not be read."""
        watch: Watch | None = getattr(reply, "watch", None)
        if watch is not None:
            watch.end(failure)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _open(
        self,
        call: Call,
        options: CallOptions,
        patience: Patience,
        watch: Watch | None,
        *,
        stream: bool,
        limit: int,
    ) -> tuple[Reply, str]:
        self.begin(patience)
        headers = self._headers_for(call, options)
        request_id = headers["X-Request-ID"]
        url = self._url(call)
        if watch is not None:
            watch.begin(url, request_id)
        policy = self.retry
        if options.max_retries is not None:
            policy = msgspec.structs.replace(policy, max_retries=options.max_retries)
        attempts: list[str] = []
        retries, renewals = 0, 0
        while True:
            credential: Credential | None = None
            reply: Reply | None = None
            failure: GigaClientError
            has_credential = False
            started_at = time.monotonic()
            if call.attempt_id is not None:
                headers[call.attempt_id] = new_id()
            try:
                # Before the place, so that nobody holds one while the token endpoint hangs; and once more with it, as
                # the token may have been refused while this call stood in the queue.
                self._credential(call, options, patience)
                with self.transport.waiting(patience):
                    permit = self.limiter.acquire(patience)
                try:
                    credential = self._credential(call, options, patience)
                    has_credential = True
                    if watch is not None:
                        watch.sending(headers)
                    if self.scope is not None:
                        self.scope.sent += 1
                    reply = self._send(call, url, headers, credential, patience, permit)
                except BaseException:
                    permit.release()
                    raise
                answer = self._judge(reply, call, stream, limit, request_id)
                self._note(call, attempts, started_at, reply.status, request_id)
                if watch is not None:
                    watch.response(reply.status, reply.headers, request_id=answer[1])
                return answer
            except GigaClientError as error:
                failure = error
            except Exhausted as error:
                failure = transport.timed_out(error.kind, self._host, patience, sent=False)
            except Cancelled:
                failure = APIConnectionError("the call was ended by close()", sent=False)
            except BaseException:
                if reply is not None:
                    reply.close()
                raise
            if not has_credential:
                # Getting one is a call of its own, which came this way and was tried as often as it helps.
                raise self._final(failure, attempts, request_id)
            self._note(call, attempts, started_at, _outcome(failure), request_id)
            refused = credential if reply is not None and self._refuses(reply) else None
            if refused is not None and self.tokens is not None:
                if not self.tokens.renewable:
                    failure.message += "; it was given as it is, and there is nothing to get another one with"
                elif renewals < (2 if refused.borrowed else 1):
                    # Refused before its time: this very token is dropped, and the call repeated once with another. One
                    # that another process left may have been refused before it came here: it does not count as that
                    # other.
                    self.tokens.reject(refused)
                    renewals += 1
                    if watch is not None:
                        _tell_failure(watch, failure, reply, retry_in=0.0)
                    continue
            delay = policy.delay(
                retries,
                failure,
                repeat=call.repeat,
                patience=patience.left(),
                jitter=random.random(),
            )
            if patience.cancelled:
                delay = None
            if watch is not None:
                _tell_failure(watch, failure, reply, retry_in=delay)
            if delay is None:
                raise self._final(failure, attempts, request_id)
            retries += 1
            self._retries += 1
            try:
                with self.transport.waiting(patience):
                    patience.pause(delay)
            except Exhausted:
                delay = None
            except (Cancelled, ConfigError):
                failure, delay = APIConnectionError("the call was ended by close()", sent=True), None
            if delay is None:
                raise self._final(failure, attempts, request_id)

    def _credential(self, call: Call, options: CallOptions, patience: Patience) -> Credential | None:
        if self.tokens is None or not call.authorized or options.authorization is not None:
            return None
        with self.transport.waiting(patience):
            credential = self.tokens.get(patience)
        if credential is None:
            raise ConfigError(
                'no credentials: pass credentials="<authorization key>" (or set GIGACHAT_CREDENTIALS), '
                "access_token=, user= and password=, or cert_file="
            )
        return credential

    def _send(
        self,
        call: Call,
        url: str,
        headers: dict[str, str],
        credential: Credential | None,
        patience: Patience,
        permit: Permit,
    ) -> Reply:
        outgoing = Outgoing(call.method, url, headers, call.body, fresh=call.repeat is Repeat.NEVER_TWICE)
        if credential is not None:
            # Below the caller's own headers: whoever sets Authorization by hand means it.
            outgoing.headers = {**self._authorize(credential), **headers}
        reply = self.transport.send(outgoing, patience)
        reply.on_done = permit.release
        if reply.status == 429:
            permit.refused()
        elif reply.status < 400:
            permit.succeeded()
        return reply

    def _judge(self, reply: Reply, call: Call, stream: bool, limit: int, request_id: str) -> tuple[Reply, str]:
        request_id = reply.headers.get("x-request-id", request_id)[:_MAX_ID_CHARACTERS]
        if not 200 <= reply.status <= (399 if call.accept_redirect else 299):
            body = reply.read_some(_MAX_ERROR_BYTES)
            error = status_error(reply.status, body, reply.headers, request_id=request_id, now=time.time())
            error.url = self._url(call).partition("?")[0]
            raise self._explain(error)
        if not stream:
            reply.body = reply.read(limit)
        return reply, request_id

    def _final(self, failure: GigaClientError, attempts: list[str], request_id: str) -> GigaClientError:
        failure.attempts = (*attempts, *failure.attempts)
        if failure.request_id is None:
            failure.request_id = request_id
        failure.__context__ = None
        return failure

    def _note(self, call: Call, attempts: list[str], started_at: float, outcome: object, request_id: str) -> None:
        seconds = time.monotonic() - started_at
        attempts.append(f"{outcome} after {seconds:.2f} s")
        _log.debug(
            "%s %s: %s in %.3f s, attempt %d, request %s",
            call.method,
            call.path.partition("?")[0],
            outcome,
            seconds,
            len(attempts),
            request_id,
        )

    # -- what is sent ------------------------------------------------------------------------------------------------

    def _headers_for(self, call: Call, options: CallOptions) -> dict[str, str]:
        headers = dict(self._headers)
        headers["Accept"] = call.accept
        if call.body is not None and call.content_type:
            headers["Content-Type"] = call.content_type
        if call.accept == EVENT_STREAM:
            headers["Cache-Control"] = "no-store"
        if options.headers:
            lowered = {name.lower() for name in options.headers}
            headers = {name: value for name, value in headers.items() if name.lower() not in lowered}
            headers.update(options.headers)
        if options.authorization is not None:
            headers["Authorization"] = options.authorization
        for name in headers:
            if name.lower() == "x-request-id":
                headers["X-Request-ID"] = headers.pop(name)
                break
        else:
            headers["X-Request-ID"] = new_id()
        return headers

    def _url(self, call: Call) -> str:
        url = call.path
        if "://" not in url:
            if not url.startswith("/"):
                raise ConfigError("a path must begin with a slash")
            url = self.base_url + url
        elif origin_of(url) not in self.transport.origins:
            raise ConfigError(f"{origin_of(url)} is not an address of this client: it would get the access token")
        return f"{url}?{urlencode(call.query)}" if call.query else url


def _tell_failure(watch: Watch, failure: GigaClientError, reply: Reply | None, *, retry_in: float | None) -> None:
    status, headers = (None, {}) if reply is None else (reply.status, reply.headers)
    watch.response(status, headers, request_id=failure.request_id, error=failure, retry_in=retry_in)


def _outcome(failure: GigaClientError) -> str:
    return str(failure.status_code) if isinstance(failure, APIStatusError) else type(failure).__name__
