"""The send loop of every call: take a permit and a credential, send the request, retry where that is safe.

Tokens, retries, deadlines, concurrency limits, errors, request ids and logs are handled here and nowhere else, so that
no endpoint can omit one of them.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec
import msgspec.structs

from gigaclient import transport
from gigaclient._core.error_mapping import status_error
from gigaclient._core.limiter import Limiter, Permit
from gigaclient._core.request_options import RequestOptions, request_headers
from gigaclient._core.retry import RetryPolicy
from gigaclient._core.stats import Stats
from gigaclient._primitives.deadline import CancelGroup, Cancelled, Deadline, DeadlineExceeded, Timeouts
from gigaclient._primitives.ids import new_id
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.errors import APIStatusError, ConfigError, GigaClientError
from gigaclient.streaming.observer import NULL_OBSERVER
from gigaclient.transport.request import Request, origin_of

if TYPE_CHECKING:
    from gigaclient._core.hook_set import Hooks
    from gigaclient.transport import Response, Transport

__all__ = ["MAX_RESPONSE_BYTES", "Executor"]

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_MAX_ID_CHARACTERS = 200

_log = logging.getLogger("gigaclient")


class _Call:
    """The state of one call, shared by its attempts."""

    __slots__ = (
        "attempts",
        "deadline",
        "headers",
        "limit",
        "needs_token",
        "observer",
        "policy",
        "refreshes",
        "request",
        "request_id",
        "retries",
        "url",
    )

    headers: dict[str, str]
    needs_token: bool
    policy: RetryPolicy
    request_id: str
    url: str

    def __init__(self, request: Request, deadline: Deadline, observer: Any, limit: int | None) -> None:
        self.request = request
        self.deadline = deadline
        self.observer = observer
        self.limit = limit
        """The largest body in bytes; None for a body that the caller reads."""
        self.attempts: list[str] = []
        """One line for each attempt, for the final error."""
        self.retries = 0
        self.refreshes = 0
        """The number of refused tokens that were replaced."""


class _Attempt:
    """One attempt of a call."""

    __slots__ = ("credential", "is_ready", "response", "started_at")

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.credential: Credential | None = None
        self.is_ready = False
        """The token, if one is needed, and the permit are there."""
        self.response: Response | None = None


class Executor:
    """Sends calls for one account at one base URL.

    Args:
        transport: sends the requests.
        base_url: the URL that a request's path is appended to.
        tokens: the account's credential; None where a client certificate authenticates the connection.
        authorize: returns the headers for a credential.
        is_auth_error: returns True if an error response means that the credential is no longer valid.
        reword_error: rewords the error for an error status for the users of this service.
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
        is_auth_error: Callable[[Response], bool] = lambda response: response.status == 401,
        reword_error: Callable[[APIStatusError], APIStatusError] = lambda error: error,
        hooks: Hooks | None = None,
    ) -> None:
        self.transport = transport
        self.base_url = base_url
        self.tokens = tokens
        self.limiter = limiter
        self.retry = retry
        self.timeouts = timeouts
        self.hooks = hooks
        self.cancel_group: CancelGroup | None = None
        self._authorize = authorize
        self._authorized: tuple[Credential | None, dict[str, str]] = (None, {})
        self._is_auth_error = is_auth_error
        self._reword_error = reword_error
        self._headers = headers
        self._host = urlsplit(base_url).hostname or ""
        self._retries = 0

    def with_policy(self, retry: RetryPolicy, timeouts: Timeouts) -> Executor:
        """Return a copy with another retry policy and other timeouts; transport, token and limiter are shared."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, retry=retry, timeouts=timeouts)
        return copy

    def within(self, cancel_group: CancelGroup) -> Executor:
        """Return a copy whose calls belong to the group ``cancel_group``; everything else is shared."""
        copy = self.with_policy(self.retry, self.timeouts)
        copy.cancel_group = cancel_group
        return copy

    def begin(self, deadline: Deadline) -> None:
        """Register the call or wait with its cancel group, if it has one."""
        if self.cancel_group is not None:
            self.cancel_group.begin(deadline)

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
        limit: int = MAX_RESPONSE_BYTES,
        deadline: Deadline | None = None,
    ) -> Response:
        """Send ``request`` and return the response with its whole ``body``.

        Args:
            request: the request.
            options: the options of the call.
            limit: the largest body in bytes.
            deadline: the deadline of the call that this one is part of, as when a token is fetched.

        Raises:
            GigaClientError: the call failed; ``attempts`` lists every attempt.
        """
        call = self._begin(request, options, deadline or Deadline(options.timeouts or self.timeouts), limit=limit)
        response = self._execute(call)
        call.observer.end_with_body(response, request.accept)
        return response

    def open(self, request: Request, options: RequestOptions) -> Response:
        """Send ``request`` and return the response when its headers have arrived, with its body unread.

        The caller reads the body to its end or closes the response. Errors and retries happen here, before the first
        byte of the body, and never after it.
        """
        call = self._begin(request, options, Deadline(options.timeouts or self.timeouts), limit=None)
        response = self._execute(call)
        response.observer = call.observer
        return response

    # -- the send loop -------------------------------------------------------------------------------------------------

    def _begin(self, request: Request, options: RequestOptions, deadline: Deadline, limit: int | None) -> _Call:
        """Prepare a call. Nothing is sent yet; invalid input raises ConfigError."""
        observer: Any = NULL_OBSERVER
        if self.hooks is not None:
            from gigaclient._core.observer import CallObserver  # loaded only by clients with hooks

            observer = CallObserver(self.hooks, request, is_stream=limit is None)
        call = _Call(request, deadline, observer, limit)
        try:
            self.begin(deadline)
            call.headers = request_headers(self._headers, request, options)
            call.request_id = call.headers["X-Request-ID"]
            call.url = self._url(request)
            call.needs_token = self.tokens is not None and request.authorized and options.authorization is None
            call.policy = self.retry
            if options.max_retries is not None:
                call.policy = msgspec.structs.replace(call.policy, max_retries=options.max_retries)
            observer.begin(call.url, call.request_id)
        except BaseException as error:
            observer.end(error)
            raise
        return call

    def _execute(self, call: _Call) -> Response:
        """Try until an attempt succeeds or its failure is final."""
        try:
            while True:
                attempt = _Attempt()
                try:
                    return self._attempt(call, attempt)
                except GigaClientError as error:
                    failure = error
                except (DeadlineExceeded, Cancelled) as error:
                    failure = transport.wait_failure(error, self._host, call.deadline, sent=False)
                except BaseException:
                    if attempt.response is not None:
                        attempt.response.close()
                    raise
                self._on_failure(call, attempt, failure)
        except BaseException as error:
            self.transport.forget(call.deadline)
            call.observer.end(error)
            raise

    def _attempt(self, call: _Call, attempt: _Attempt) -> Response:
        """Send the request once and return its response, read if the call has a limit for its body."""
        if call.request.attempt_id is not None:
            call.headers[call.request.attempt_id] = new_id()
        # Get the token before the permit, so that no call holds a permit while the token endpoint hangs. Get it again
        # afterwards, because it may have been refused while this call waited for the permit.
        self._credential(call)
        self.transport.register(call.deadline)
        permit = self.limiter.acquire(call.deadline)
        try:
            attempt.credential = self._credential(call)
            attempt.is_ready = True
            call.observer.sending(call.headers)
            if self.cancel_group is not None:
                self.cancel_group.sent += 1
            response = attempt.response = self._send(call, attempt.credential, permit)
        except BaseException:
            permit.release()
            raise
        self._raise_for_status(call, response)
        if call.limit is not None:
            response.body = response.read(call.limit)
        self._log_attempt(call, attempt, response.status)
        call.observer.response(response.status, response.headers, request_id=response.request_id)
        return response

    def _on_failure(self, call: _Call, attempt: _Attempt, failure: GigaClientError) -> None:
        """Wait for the backoff and return if the call is to be retried; otherwise raise the final error."""
        if not attempt.is_ready:
            # Fetching a token is a call through this loop too, and has had its retries.
            raise self._finalize_error(call, failure)
        self._log_attempt(call, attempt, _describe(failure))
        if self._replace_token(call, attempt, failure):
            call.observer.failure(failure, attempt.response, retry_in=0.0)
            return
        delay = call.policy.delay(
            call.retries,
            failure,
            retry_safety=call.request.retry_safety,
            deadline=call.deadline.left(),
            jitter=random.random(),
        )
        if call.deadline.cancelled:
            delay = None
        call.observer.failure(failure, attempt.response, retry_in=delay)
        if delay is None:
            raise self._finalize_error(call, failure)
        call.retries += 1
        self._retries += 1
        try:
            self.transport.register(call.deadline)
            call.deadline.pause(delay)
            return
        except DeadlineExceeded:
            pass  # the failure of the last attempt says more
        except (Cancelled, ConfigError):
            failure = transport.wait_failure(Cancelled(), self._host, call.deadline, sent=True)
        raise self._finalize_error(call, failure)

    def _replace_token(self, call: _Call, attempt: _Attempt, failure: GigaClientError) -> bool:
        """Drop a token that the server refused; return True if the call is to be repeated with another one."""
        refused = attempt.credential
        if (
            attempt.response is None
            or refused is None
            or self.tokens is None
            or not self._is_auth_error(attempt.response)
        ):
            return False
        if not self.tokens.renewable:
            failure.message += "; it was passed in as a fixed token, so the client cannot get another one"
            return False
        # A token from the store may have been refused before this process read it, so it allows one more repeat.
        if call.refreshes >= (2 if refused.from_store else 1):
            return False
        self.tokens.reject(refused)
        call.refreshes += 1
        return True

    def _credential(self, call: _Call) -> Credential | None:
        if not call.needs_token or self.tokens is None:
            return None
        self.transport.register(call.deadline)
        credential = self.tokens.get(call.deadline)
        if credential is None:
            raise ConfigError(
                'no credentials: pass credentials="<authorization key>" (or set GIGACHAT_CREDENTIALS), '
                "access_token=, user= and password=, or cert_file="
            )
        return credential

    def _send(self, call: _Call, credential: Credential | None, permit: Permit) -> Response:
        headers = call.headers
        if credential is not None:
            # The caller's headers win, Authorization among them.
            headers = {**self._authorization(credential), **headers}
        response = self.transport.send(call.request, call.url, headers, call.deadline)
        response.on_done = permit.release
        if response.status == 429:
            permit.refused()
        elif response.status < 400:
            permit.succeeded()
        return response

    def _authorization(self, credential: Credential) -> dict[str, str]:
        known, headers = self._authorized
        if known is not credential:
            headers = self._authorize(credential)
            self._authorized = credential, headers
        return headers

    def _raise_for_status(self, call: _Call, response: Response) -> None:
        response.request_id = response.headers.get("x-request-id", call.request_id)[:_MAX_ID_CHARACTERS]
        if 200 <= response.status <= (399 if call.request.accept_redirect else 299):
            return
        body = response.read_some(_MAX_ERROR_BYTES)
        error = status_error(response.status, body, response.headers, request_id=response.request_id, now=time.time())
        error.url = call.url.partition("?")[0]
        raise self._reword_error(error)

    def _finalize_error(self, call: _Call, failure: GigaClientError) -> GigaClientError:
        failure.attempts = (*call.attempts, *failure.attempts)
        if failure.request_id is None:
            failure.request_id = call.request_id
        failure.__context__ = None
        return failure

    def _log_attempt(self, call: _Call, attempt: _Attempt, outcome: object) -> None:
        seconds = time.monotonic() - attempt.started_at
        call.attempts.append(f"{outcome} after {seconds:.2f} s")
        message = "%s %s: %s in %.3f s, attempt %d, request %s"
        method, path = call.request.method, call.request.path.partition("?")[0]
        _log.debug(message, method, path, outcome, seconds, len(call.attempts), call.request_id)

    def _url(self, request: Request) -> str:
        url = request.path
        if "://" not in url:
            if not url.startswith("/"):
                raise ConfigError("a path must begin with a slash")
            url = self.base_url + url
        elif origin_of(url) not in self.transport.origins:
            raise ConfigError(f"{origin_of(url)} is not an address of this client: it would get the access token")
        return f"{url}?{urlencode(request.query)}" if request.query else url


def _describe(failure: GigaClientError) -> str:
    return str(failure.status_code) if isinstance(failure, APIStatusError) else type(failure).__name__
