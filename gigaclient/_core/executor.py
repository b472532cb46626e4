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
from gigaclient._primitives.deadline import CancelGroup, Cancelled, Deadline, DeadlineExceeded, Timeouts
from gigaclient._primitives.ids import new_id
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.errors import APIConnectionError, APIStatusError, ConfigError, GigaClientError

if TYPE_CHECKING:
    from gigaclient._core.observer import CallObserver, Hooks
    from gigaclient.transport import Response, Transport

from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import BufferedResponse
from gigaclient.transport.request import EVENT_STREAM, HTTPRequest, Request, RetrySafety, origin_of

__all__ = ["MAX_ANSWER_BYTES", "Executor", "Stats"]

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


class Executor:
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
        tokens: TokenManager | None,
        authorize: Callable[[Credential], dict[str, str]],
        limiter: Limiter,
        retry: RetryPolicy,
        timeouts: Timeouts,
        headers: Mapping[str, str],
        refuses: Callable[[Response], bool] = lambda response: response.status == 401,
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
        self.scope: CancelGroup | None = None
        self._authorize = authorize
        self._refuses = refuses
        self._explain = explain
        self._headers = headers
        self._host = urlsplit(base_url).hostname or ""
        self._retries = 0

    def with_policy(self, retry: RetryPolicy, timeouts: Timeouts) -> Executor:
        """A core that shares the wire, the credential and the queue, with another patience."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, retry=retry, timeouts=timeouts)
        return copy

    def within(self, scope: CancelGroup) -> Executor:
        """A core that shares everything, and whose calls ``scope`` counts and can end."""
        copy = self.with_policy(self.retry, self.timeouts)
        copy.scope = scope
        return copy

    def begin(self, deadline: Deadline) -> None:
        """A call or a wait begins, which whoever gives up the work that it is part of can end."""
        if self.scope is not None:
            self.scope.begin(deadline)

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
        request: Request,
        options: RequestOptions,
        *,
        limit: int = MAX_ANSWER_BYTES,
        deadline: Deadline | None = None,
    ) -> BufferedResponse:
        """Send ``request`` and read the whole answer; an error status raises.

        ``deadline`` is given where this call is part of another one, as fetching a token is.

        Raises:
            GigaClientError: any of them, with ``attempts`` saying what was tried.
        """
        if deadline is None:
            deadline = Deadline(options.timeouts or self.timeouts)
        observer = None if self.hooks is None else self._observer(self.hooks, request, stream=False)
        try:
            response, request_id = self._execute(request, options, deadline, observer, stream=False, limit=limit)
            answered = BufferedResponse(
                response.body or b"", response.status, response.headers, request_id, response.cookies
            )
        except BaseException as error:
            if observer is not None:
                observer.end(error)
            raise
        if observer is not None:
            self._tell_end(observer, request, answered)
        return answered

    def open(self, request: Request, options: RequestOptions) -> tuple[Response, str]:
        """Send ``request`` and return when the head of a good answer is here: the reply, unread, and the request's id.

        Whoever takes the reply reads it to its end or closes it. Errors and retries happen here, before the first byte
        of the body, and never after it.
        """
        observer = None if self.hooks is None else self._observer(self.hooks, request, stream=True)
        deadline = Deadline(options.timeouts or self.timeouts)
        try:
            response, request_id = self._execute(request, options, deadline, observer, stream=True, limit=0)
        except BaseException as error:
            if observer is not None:
                observer.end(error)
            raise
        if observer is not None:
            response.observer = observer  # where a stream finds it
        return response, request_id

    @staticmethod
    def blocks(response: Response) -> Generator[bytes, None, None]:
        """The body of a reply of :meth:`open` that is no event stream, as it comes; its end is told."""
        return response.blocks() if response.observer is None else response.observer.observed(response.blocks())

    # -- whoever watches ---------------------------------------------------------------------------------------------

    def _observer(self, hooks: Hooks, request: Request, *, stream: bool) -> CallObserver:
        from gigaclient._core.observer import CallObserver  # few programs watch

        body = request.body if request.content_type == "application/json" else None
        return CallObserver(hooks, method=request.method, body=body, is_stream=stream)

    def _tell_end(self, observer: CallObserver, request: Request, answered: BufferedResponse) -> None:
        from gigaclient._core.observer import extract_summary

        told = None
        failure: GigaClientError | None = None
        if observer.reads_answers and request.accept == "application/json":
            # As whoever asked is about to find.
            told = extract_summary(answered.body)
            if told is None:
                failure = answered.invalid("not JSON")
            elif told.may_be_an_error:
                failure = answered.refusal()
        observer.end(failure, answer=told)

    @staticmethod
    def tell_failure(response: Response, failure: GigaClientError) -> None:
        """Tell whoever watches that ``response``, of :meth:`open`, is not what was asked for and will not be read."""
        observer: CallObserver | None = getattr(response, "observer", None)
        if observer is not None:
            observer.end(failure)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _execute(
        self,
        request: Request,
        options: RequestOptions,
        deadline: Deadline,
        observer: CallObserver | None,
        *,
        stream: bool,
        limit: int,
    ) -> tuple[Response, str]:
        self.begin(deadline)
        headers = self._headers_for(request, options)
        request_id = headers["X-Request-ID"]
        url = self._url(request)
        if observer is not None:
            observer.begin(url, request_id)
        policy = self.retry
        if options.max_retries is not None:
            policy = msgspec.structs.replace(policy, max_retries=options.max_retries)
        attempts: list[str] = []
        retries, renewals = 0, 0
        while True:
            credential: Credential | None = None
            response: Response | None = None
            failure: GigaClientError
            has_credential = False
            started_at = time.monotonic()
            if request.attempt_id is not None:
                headers[request.attempt_id] = new_id()
            try:
                # Before the place, so that nobody holds one while the token endpoint hangs; and once more with it, as
                # the token may have been refused while this call stood in the queue.
                self._credential(request, options, deadline)
                with self.transport.waiting(deadline):
                    permit = self.limiter.acquire(deadline)
                try:
                    credential = self._credential(request, options, deadline)
                    has_credential = True
                    if observer is not None:
                        observer.sending(headers)
                    if self.scope is not None:
                        self.scope.sent += 1
                    response = self._send(request, url, headers, credential, deadline, permit)
                except BaseException:
                    permit.release()
                    raise
                answer = self._raise_for_status(response, request, stream, limit, request_id)
                self._log_attempt(request, attempts, started_at, response.status, request_id)
                if observer is not None:
                    observer.response(response.status, response.headers, request_id=answer[1])
                return answer
            except GigaClientError as error:
                failure = error
            except DeadlineExceeded as error:
                failure = transport.timed_out(error.kind, self._host, deadline, sent=False)
            except Cancelled:
                failure = APIConnectionError("the call was ended by close()", sent=False)
            except BaseException:
                if response is not None:
                    response.close()
                raise
            if not has_credential:
                # Getting one is a call of its own, which came this way and was tried as often as it helps.
                raise self._finalize_error(failure, attempts, request_id)
            self._log_attempt(request, attempts, started_at, _outcome(failure), request_id)
            refused = credential if response is not None and self._refuses(response) else None
            if refused is not None and self.tokens is not None:
                if not self.tokens.renewable:
                    failure.message += "; it was given as it is, and there is nothing to get another one with"
                elif renewals < (2 if refused.from_store else 1):
                    # Refused before its time: this very token is dropped, and the call repeated once with another. One
                    # that another process left may have been refused before it came here: it does not count as that
                    # other.
                    self.tokens.reject(refused)
                    renewals += 1
                    if observer is not None:
                        _tell_failure(observer, failure, response, retry_in=0.0)
                    continue
            delay = policy.delay(
                retries,
                failure,
                retry_safety=request.retry_safety,
                deadline=deadline.left(),
                jitter=random.random(),
            )
            if deadline.cancelled:
                delay = None
            if observer is not None:
                _tell_failure(observer, failure, response, retry_in=delay)
            if delay is None:
                raise self._finalize_error(failure, attempts, request_id)
            retries += 1
            self._retries += 1
            try:
                with self.transport.waiting(deadline):
                    deadline.pause(delay)
            except DeadlineExceeded:
                delay = None
            except (Cancelled, ConfigError):
                failure, delay = APIConnectionError("the call was ended by close()", sent=True), None
            if delay is None:
                raise self._finalize_error(failure, attempts, request_id)

    def _credential(self, request: Request, options: RequestOptions, deadline: Deadline) -> Credential | None:
        if self.tokens is None or not request.authorized or options.authorization is not None:
            return None
        with self.transport.waiting(deadline):
            credential = self.tokens.get(deadline)
        if credential is None:
            raise ConfigError(
                'no credentials: pass credentials="<authorization key>" (or set GIGACHAT_CREDENTIALS), '
                "access_token=, user= and password=, or cert_file="
            )
        return credential

    def _send(
        self,
        request: Request,
        url: str,
        headers: dict[str, str],
        credential: Credential | None,
        deadline: Deadline,
        permit: Permit,
    ) -> Response:
        http_request = HTTPRequest(
            request.method, url, headers, request.body, fresh=request.retry_safety is RetrySafety.NON_IDEMPOTENT
        )
        if credential is not None:
            # Below the caller's own headers: whoever sets Authorization by hand means it.
            http_request.headers = {**self._authorize(credential), **headers}
        response = self.transport.send(http_request, deadline)
        response.on_done = permit.release
        if response.status == 429:
            permit.refused()
        elif response.status < 400:
            permit.succeeded()
        return response

    def _raise_for_status(
        self, response: Response, request: Request, stream: bool, limit: int, request_id: str
    ) -> tuple[Response, str]:
        request_id = response.headers.get("x-request-id", request_id)[:_MAX_ID_CHARACTERS]
        if not 200 <= response.status <= (399 if request.accept_redirect else 299):
            body = response.read_some(_MAX_ERROR_BYTES)
            error = status_error(response.status, body, response.headers, request_id=request_id, now=time.time())
            error.url = self._url(request).partition("?")[0]
            raise self._explain(error)
        if not stream:
            response.body = response.read(limit)
        return response, request_id

    def _finalize_error(self, failure: GigaClientError, attempts: list[str], request_id: str) -> GigaClientError:
        failure.attempts = (*attempts, *failure.attempts)
        if failure.request_id is None:
            failure.request_id = request_id
        failure.__context__ = None
        return failure

    def _log_attempt(
        self, request: Request, attempts: list[str], started_at: float, outcome: object, request_id: str
    ) -> None:
        seconds = time.monotonic() - started_at
        attempts.append(f"{outcome} after {seconds:.2f} s")
        _log.debug(
            "%s %s: %s in %.3f s, attempt %d, request %s",
            request.method,
            request.path.partition("?")[0],
            outcome,
            seconds,
            len(attempts),
            request_id,
        )

    # -- what is sent ------------------------------------------------------------------------------------------------

    def _headers_for(self, request: Request, options: RequestOptions) -> dict[str, str]:
        headers = dict(self._headers)
        headers["Accept"] = request.accept
        if request.body is not None and request.content_type:
            headers["Content-Type"] = request.content_type
        if request.accept == EVENT_STREAM:
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

    def _url(self, request: Request) -> str:
        url = request.path
        if "://" not in url:
            if not url.startswith("/"):
                raise ConfigError("a path must begin with a slash")
            url = self.base_url + url
        elif origin_of(url) not in self.transport.origins:
            raise ConfigError(f"{origin_of(url)} is not an address of this client: it would get the access token")
        return f"{url}?{urlencode(request.query)}" if request.query else url


def _tell_failure(
    observer: CallObserver, failure: GigaClientError, response: Response | None, *, retry_in: float | None
) -> None:
    status, headers = (None, {}) if response is None else (response.status, response.headers)
    observer.response(status, headers, request_id=failure.request_id, error=failure, retry_in=retry_in)


def _outcome(failure: GigaClientError) -> str:
    return str(failure.status_code) if isinstance(failure, APIStatusError) else type(failure).__name__
