"""The send loop of every call: take a permit and a credential, send the request, retry where that is safe.

Tokens, retries, deadlines, concurrency limits, errors, request ids and logs are handled here and nowhere else, so that
no endpoint can omit one of them.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from os import getpid
from threading import get_ident
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec
import msgspec.structs

from gigaclient import transport
from gigaclient._core.error_mapping import status_error
from gigaclient._core.limiter import Limiter
from gigaclient._core.request_options import RequestOptions, new_id, request_headers
from gigaclient._core.retry import RetryPolicy
from gigaclient._core.stats import Stats
from gigaclient._primitives import fork_safety
from gigaclient._primitives.deadline import CancelGroup, Cancelled, Deadline, DeadlineExceeded, Timeouts
from gigaclient.auth.token_manager import Credential, TokenManager
from gigaclient.errors import APIStatusError, ConfigError, GigaClientError, NotFoundError
from gigaclient.streaming.stream import NULL_OBSERVER
from gigaclient.transport.request import Request, origin_of

if TYPE_CHECKING:
    from gigaclient._core.hook_set import Hooks
    from gigaclient.transport import Response, Transport

__all__ = ["MAX_RESPONSE_BYTES", "Call", "Executor"]

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_MAX_ID_CHARACTERS = 200

_log = logging.getLogger("gigaclient")


class Call(msgspec.Struct, eq=False):
    """The state of one call, shared by its attempts."""

    request: Request
    options: RequestOptions
    deadline: Deadline
    observer: Any
    limit: int | None
    """The largest body in bytes; None for a body that the caller reads."""
    headers: dict[str, str]
    request_id: str
    url: str
    policy: RetryPolicy
    needs_token: bool
    attempts: list[str] = []
    """One line for each attempt, for the final error."""
    retries: int = 0
    refreshes: int = 0
    """The number of refused tokens that were replaced."""
    # Of the present attempt:
    started_at: float = 0.0
    credential: Credential | None = None
    is_ready: bool = False
    """The token, if one is needed, and the permit are there."""
    response: Any = None

    def __repr__(self) -> str:
        return f"<Call {self.request.method} {self.request.path.partition('?')[0]}, request {self.request_id}>"


class Executor:
    """Sends calls for one account at one base URL.

    Args:
        transport: sends the requests.
        base_url: the URL that a request's path is appended to.
        tokens: the account's credential; None where a client certificate authenticates the connection.
        authorize: returns the headers for a credential.
        is_auth_error: returns True if an error response means that the credential is no longer valid.
        reword_error: rewords the error for an error status for the users of this service.
        explain_not_found: adds advice to the final error of a call for something that the service does not have.
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
        explain_not_found: Callable[[Executor, Call, NotFoundError], None] = lambda executor, call, error: None,
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
        self._explain_not_found = explain_not_found
        self._accepted = range(200, 300)
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
        cancel_group.active_calls = self.transport.active_calls
        return copy

    def accepting_redirects(self) -> Executor:
        """Return a copy for which a redirect, which is never followed, is a valid response."""
        copy = self.with_policy(self.retry, self.timeouts)
        copy._accepted = range(200, 400)
        return copy

    def begin(self, deadline: Deadline) -> None:
        """Note the cancel group of a call or a wait, if it has one."""
        if self.cancel_group is not None:
            deadline.group = self.cancel_group

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

    def _begin(self, request: Request, options: RequestOptions, deadline: Deadline, limit: int | None) -> Call:
        """Prepare a call. Nothing is sent yet; invalid input raises ConfigError."""
        if getpid() != fork_safety.process_id:
            fork_safety.check_process()
        observer: Any = NULL_OBSERVER
        if self.hooks is not None:
            from gigaclient._core.observer import CallObserver  # loaded only by clients with hooks

            observer = CallObserver(self.hooks, request, is_stream=limit is None)
        try:
            self.begin(deadline)
            headers = request_headers(self._headers, request, options)
            request_id, url = headers["X-Request-ID"], self._url(request)
            needs_token = self.tokens is not None and request.authorized and options.authorization is None
            policy = self.retry
            if options.max_retries is not None:
                policy = msgspec.structs.replace(policy, max_retries=options.max_retries)
            observer.begin(url, request_id)
        except BaseException as error:
            observer.end(error)
            raise
        return Call(request, options, deadline, observer, limit, headers, request_id, url, policy, needs_token)

    def _execute(self, call: Call) -> Response:
        """Try until an attempt succeeds or its failure is final."""
        try:
            while True:
                call.started_at = time.monotonic()
                call.credential, call.is_ready, call.response = None, False, None
                try:
                    return self._attempt(call)
                except GigaClientError as error:
                    failure = error
                except (DeadlineExceeded, Cancelled) as error:
                    failure = transport.wait_failure(error, self._host, call.deadline, sent=False)
                except BaseException:
                    if call.response is not None:
                        call.response.close()
                    raise
                self._on_failure(call, failure)
        except BaseException as error:
            self.transport.forget(call.deadline)
            call.observer.end(error)
            raise

    def _attempt(self, call: Call) -> Response:
        """Send the request once and return its response, read if the call has a limit for its body."""
        if call.request.attempt_id is not None:
            call.headers[call.request.attempt_id] = new_id()
        # Get the token before the permit, so that no call holds a permit while the token endpoint hangs. Get it again
        # afterwards, because it may have been refused while this call waited for the permit.
        self._credential(call)
        self.transport.register(call.deadline)
        permit = self.limiter.acquire(call.deadline, get_ident())
        try:
            call.credential = self._credential(call)
            call.is_ready = True
            call.observer.sending(call.headers)
            if self.cancel_group is not None:
                self.cancel_group.sent += 1
            headers = self._authorized_headers(call)
            response = call.response = self.transport.send(call.request, call.url, headers, call.deadline)
            response.on_done = permit.release
            if response.status == 429:
                permit.refused()
            elif response.status < 400:
                permit.succeeded()
        except BaseException:
            permit.release()
            raise
        response.request_id = call.request_id
        # Most servers return the id that was sent. Another text may be anything, a part of our headers too.
        if response.headers.get("x-request-id", call.request_id) != call.request_id:
            response.request_id = response.masked(response.headers["x-request-id"])[:_MAX_ID_CHARACTERS]
        if response.status not in self._accepted:
            raise self._status_error(call, response)
        if call.limit is not None:
            response.body = response.read(call.limit)
        self._log_attempt(call, response.status)
        call.observer.response(response, request_id=response.request_id)
        if call.limit is None:
            permit.outlive_call()
        return response

    def _on_failure(self, call: Call, failure: GigaClientError) -> None:
        """Wait for the backoff and return if the call is to be retried; otherwise raise the final error."""
        if not call.is_ready:
            # Fetching a token is a call through this loop too, and has had its retries.
            raise self._finalize_error(call, failure)
        self._log_attempt(call, _describe(failure))
        if self._replace_token(call, failure):
            call.observer.failure(failure, call.response, retry_in=0.0)
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
        call.observer.failure(failure, call.response, retry_in=delay)
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

    def _replace_token(self, call: Call, failure: GigaClientError) -> bool:
        """Drop a token that the server refused; return True if the call is to be repeated with another one."""
        refused = call.credential
        if call.response is None or refused is None or self.tokens is None or not self._is_auth_error(call.response):
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

    def _credential(self, call: Call) -> Credential | None:
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

    def _authorized_headers(self, call: Call) -> dict[str, str]:
        credential = call.credential
        if credential is None:
            return call.headers
        known, authorization = self._authorized
        if known is not credential:
            authorization = self._authorize(credential)
            self._authorized = credential, authorization
        return {**authorization, **call.headers}  # the caller's headers win, Authorization among them

    def _status_error(self, call: Call, response: Response) -> APIStatusError:
        body = response.read_some(_MAX_ERROR_BYTES)
        error = status_error(response.status, body, response.headers, request_id=response.request_id, now=time.time())
        error.url = call.url.partition("?")[0]
        return response.mask_echo(self._reword_error(error))

    def _finalize_error(self, call: Call, failure: GigaClientError) -> GigaClientError:
        failure.attempts = (*call.attempts, *failure.attempts)
        if failure.request_id is None:
            failure.request_id = call.request_id
        if isinstance(failure, NotFoundError):
            self._explain_not_found(self, call, failure)
        failure.__context__ = None
        return failure

    def _log_attempt(self, call: Call, outcome: object) -> None:
        seconds = time.monotonic() - call.started_at
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
