"""The send loop of every call: take a permit and a credential, send the request, retry where that is safe.

Tokens, retries, deadlines, concurrency limits, errors, request ids and logs are handled here and nowhere else, so that
no endpoint can omit one of them.
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
    """The state of a client, as ``giga.stats()`` returns it.

    Attributes:
        in_flight: calls that wait for a response or are reading one.
        waiting: calls that queue for a permit.
        limit: how many calls may run at once; ``inf`` while no limit is known.
        tokens_fetched: access tokens fetched so far.
        retries: retries of all calls so far.
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
        transport: sends the requests.
        base_url: the URL that a request's path is appended to.
        tokens: the account's credential; None where a client certificate authenticates the connection.
        authorize: returns the headers for a credential.
        refuses: returns True if an error response means that the credential is no longer valid.
        explain: rewords the error for an error status for the users of this service.
        hooks: the hooks that observe the calls; None for most clients.
        limiter: the concurrency limit of the account.
        retry: the retry policy.
        timeouts: the timeouts of a call that sets none.
        headers: headers of every request.
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
        """Return a copy with another retry policy and other timeouts; transport, token and limiter are shared."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, retry=retry, timeouts=timeouts)
        return copy

    def within(self, scope: CancelGroup) -> Executor:
        """Return a copy whose calls belong to the cancel group ``scope``; everything else is shared."""
        copy = self.with_policy(self.retry, self.timeouts)
        copy.scope = scope
        return copy

    def begin(self, deadline: Deadline) -> None:
        """Register the call or wait with its cancel group, if it has one."""
        if self.scope is not None:
            self.scope.begin(deadline)

    def stats(self) -> Stats:
        """Return the current figures."""
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
        """Send ``request`` and read the whole response.

        Args:
            request: the request.
            options: the options of the call.
            limit: the largest body in bytes.
            deadline: the deadline of the call that this one is part of, as when a token is fetched.

        Raises:
            GigaClientError: the call failed; ``attempts`` lists every attempt.
        """
        if deadline is None:
            deadline = Deadline(options.timeouts or self.timeouts)
        observer = None if self.hooks is None else self._observer(self.hooks, request, stream=False)
        try:
            response, request_id = self._execute(request, options, deadline, observer, stream=False, limit=limit)
            buffered = BufferedResponse(
                response.body or b"", response.status, response.headers, request_id, response.cookies
            )
        except BaseException as error:
            if observer is not None:
                observer.end(error)
            raise
        if observer is not None:
            self._report_end(observer, request, buffered)
        return buffered

    def open(self, request: Request, options: RequestOptions) -> tuple[Response, str]:
        """Send ``request`` and return the unread response and the request's id.

        The caller reads the response to its end or closes it. Errors and retries happen here, before the first byte of
        the body, and never after it.
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
            response.observer = observer  # a Stream reports the end of the call to it
        return response, request_id

    @staticmethod
    def blocks(response: Response) -> Generator[bytes, None, None]:
        """Yield the body of a response of :meth:`open` that is no event stream, and report its end to the hooks."""
        return response.blocks() if response.observer is None else response.observer.observed(response.blocks())

    # -- hooks -------------------------------------------------------------------------------------------------------

    def _observer(self, hooks: Hooks, request: Request, *, stream: bool) -> CallObserver:
        from gigaclient._core.observer import CallObserver  # loaded only by clients with hooks

        body = request.body if request.content_type == "application/json" else None
        return CallObserver(hooks, method=request.method, body=body, is_stream=stream)

    def _report_end(self, observer: CallObserver, request: Request, response: BufferedResponse) -> None:
        from gigaclient._core.observer import extract_summary

        summary = None
        failure: GigaClientError | None = None
        if observer.needs_summary and request.accept == "application/json":
            # The same checks follow when the caller decodes the body; the hooks must see the same error.
            summary = extract_summary(response.body)
            if summary is None:
                failure = response.invalid("not JSON")
            elif summary.may_be_an_error:
                failure = response.refusal()
        observer.end(failure, answer=summary)

    @staticmethod
    def tell_failure(response: Response, failure: GigaClientError) -> None:
        """Report to the hooks that ``response``, of :meth:`open`, is invalid and will not be read."""
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
        retries, refreshes = 0, 0
        while True:
            credential: Credential | None = None
            response: Response | None = None
            failure: GigaClientError
            has_credential = False
            started_at = time.monotonic()
            if request.attempt_id is not None:
                headers[request.attempt_id] = new_id()
            try:
                # Before the permit, so that no call holds one while the token endpoint hangs; and again with it,
                # because the token may have been refused while this call stood in the queue.
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
                # Fetching a token is a call through this loop too, and has had its retries.
                raise self._finalize_error(failure, attempts, request_id)
            self._log_attempt(request, attempts, started_at, _describe(failure), request_id)
            refused = credential if response is not None and self._refuses(response) else None
            if refused is not None and self.tokens is not None:
                if not self.tokens.renewable:
                    failure.message += "; it was passed in as a fixed token, so the client cannot get another one"
                elif refreshes < (2 if refused.from_store else 1):
                    # The token was refused before it expired: drop it and repeat the call once with another. A token
                    # from the store may have been refused before this process read it, so it allows one more repeat.
                    self.tokens.reject(refused)
                    refreshes += 1
                    if observer is not None:
                        _report_failure(observer, failure, response, retry_in=0.0)
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
                _report_failure(observer, failure, response, retry_in=delay)
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
            # The caller's headers win, Authorization among them.
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
        self, request: Request, attempts: list[str], started_at: float, result: object, request_id: str
    ) -> None:
        seconds = time.monotonic() - started_at
        attempts.append(f"{result} after {seconds:.2f} s")
        _log.debug(
            "%s %s: %s in %.3f s, attempt %d, request %s",
            request.method,
            request.path.partition("?")[0],
            result,
            seconds,
            len(attempts),
            request_id,
        )

    # -- headers and URL ---------------------------------------------------------------------------------------------

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


def _report_failure(
    observer: CallObserver, failure: GigaClientError, response: Response | None, *, retry_in: float | None
) -> None:
    status, headers = (None, {}) if response is None else (response.status, response.headers)
    observer.response(status, headers, request_id=failure.request_id, error=failure, retry_in=retry_in)


def _describe(failure: GigaClientError) -> str:
    return str(failure.status_code) if isinstance(failure, APIStatusError) else type(failure).__name__
