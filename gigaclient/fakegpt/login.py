"""The login: an account of the pool, a cookie, an access token.

``GET /api/loads`` lists the accounts. ``POST /auth/login`` exchanges an account and a random password for a cookie.
``GET /api/auth/session`` exchanges the cookie for an access token. The password selects a private session on an account
that many users share. The session's ``expires`` belongs to the cookie, not to the token: a login is used until it is
refused.

Functions that see a response's secrets return errors instead of raising them, because a traceback may print locals.
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from gigaclient._core.error_mapping import excerpt
from gigaclient._core.executor import Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._primitives.deadline import Deadline
from gigaclient._primitives.secret import Secret, SecretBytes, mask
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.auth.token_manager import Credential, fits_header
from gigaclient.errors import APIStatusError, AuthenticationError, GigaClientError, InvalidResponseError
from gigaclient.fakegpt.error_mapping import error_in, explain, page_title, status_in
from gigaclient.transport.request import Request

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["Cookies", "login_source", "random_string"]

_LETTERS = string.ascii_lowercase + string.digits
_MAX_RESPONSE_BYTES = 1024 * 1024

_LOADS, _LOGIN, _SESSION = "/api/loads", "/auth/login", "/api/auth/session"


def random_string(length: int = 10) -> str:
    """Return random lower-case letters and digits, from a secure source."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


class Cookies:
    """The cookies of one login, collected from step to step. For one thread; ``repr`` shows only names."""

    def __init__(self, header: str | None = None) -> None:
        self._values: dict[str, Secret] = {}
        for pair in (str.__str__(header) if header else "").split(";"):
            name, separator, value = pair.strip().partition("=")
            if separator and name:
                self._values[name] = Secret(value)

    def absorb(self, response: Response) -> bool:
        """Store the cookies of a response; return True if there were any."""
        found = _cookies_of(response)
        self._values.update(found)
        return bool(found)

    @property
    def header(self) -> Secret | None:
        """The ``Cookie`` header; None without cookies."""
        if not self._values:
            return None
        return Secret("; ".join(f"{name}={value.reveal()}" for name, value in self._values.items()))

    @property
    def secrets(self) -> list[Secret]:
        """The values of the cookies."""
        return list(self._values.values())

    def __repr__(self) -> str:
        return f"<Cookies {', '.join(self._values) or 'none'}>"


def login_source(executor: Executor, cookies: Secret | None = None) -> Callable[[Deadline], Credential]:
    """Return a function that logs in at each call, with an account chosen at random.

    Args:
        executor: sends requests without a credential and retries each step. Every step may be repeated, because the
            same account and password give the same session.
        cookies: an initial ``Cookie`` header.
    """

    def fetch(deadline: Deadline) -> Credential:
        result = _log_in(executor, Cookies(cookies), deadline)
        if isinstance(result, GigaClientError):
            raise result
        return result

    return fetch


def _log_in(executor: Executor, cookies: Cookies, deadline: Deadline) -> Credential | GigaClientError:
    request = Request("GET", _LOADS, query={"t": str(int(time.time()))})
    response = _send(executor, request, cookies, [], deadline)
    if isinstance(response, GigaClientError):
        return response
    accounts = _accounts_in(response)
    if isinstance(accounts, GigaClientError):
        return accounts
    cookies.absorb(response)

    token_key, password = secrets.choice(accounts), Secret(random_string())
    request = Request(
        "POST",
        _LOGIN,
        body=SecretBytes(
            urlencode({"token_key": token_key.reveal(), "session_password": password.reveal()}).encode("utf-8")
        ),
        content_type="application/x-www-form-urlencoded",
        accept="*/*",
    )
    sent = [token_key, password]
    response = _send(executor.accepting_redirects(), request, cookies, sent, deadline)
    if isinstance(response, GigaClientError):
        return response
    login_error = _refusal_of(response, sent)
    if login_error is not None:
        return login_error
    if not cookies.absorb(response):
        return _refused(response, "no login: the service accepted it and set no cookie")

    response = _send(executor, Request("GET", _SESSION), cookies, sent, deadline)
    if isinstance(response, GigaClientError):
        return response
    token = _token_in(response)
    if isinstance(token, GigaClientError):
        return token
    cookies.absorb(response)
    return Credential(token, cookies=cookies.header)


def _send(
    executor: Executor, request: Request, cookies: Cookies, sent: list[Secret], deadline: Deadline
) -> Response | GigaClientError:
    header = cookies.header
    options = RequestOptions(headers={"Cookie": header} if header is not None else {})
    try:
        return executor.fetch(request, options, limit=_MAX_RESPONSE_BYTES, deadline=deadline)
    except APIStatusError as error:
        return explain(error, f"no login: {request.path}: ", [*sent, *cookies.secrets])


def _accounts_in(response: Response) -> list[Secret] | GigaClientError:
    data = _decode_json(response.body)
    error = error_in(data, request_id=response.request_id, headers=response.headers)
    if error is not None:
        return explain(error, f"no login: {_LOADS}: ")
    loads = data.get("loads") if isinstance(data, dict) else None
    if not isinstance(loads, list):
        return _unexpected(response, _LOADS, data, "no list of accounts")
    accounts = [
        Secret(item["token_id"])
        for item in loads
        if isinstance(item, dict) and isinstance(item.get("token_id"), str) and item["token_id"]
    ]
    if not accounts:
        return InvalidResponseError(
            f"no login: {_LOADS} lists no account: the service's pool is empty, try again later",
            request_id=response.request_id,
            status_code=response.status,
            headers=response.headers,
        )
    return accounts


def _refusal_of(response: Response, sent: list[Secret]) -> GigaClientError | None:
    """Return the error of a login that failed under HTTP 200, with a message or a code in the body."""
    data = _decode_json(response.body)
    if (
        data is None
        and response.status < 300
        and not _cookies_of(response)
        and page_title(excerpt(response.body)) is not None
    ):
        return _unexpected(response, _LOGIN, data, "no cookie")
    error = error_in(data, request_id=response.request_id, headers=response.headers)
    status = status_in(data) if isinstance(data, dict) else None
    if error is None and status is not None:
        error = APIStatusError("it names no reason", status_code=status, code=data.get("code"), body=data)
    if error is None:
        return None
    if status is not None and (status == 429 or status >= 500):
        return explain(error, f"no login: {_LOGIN}: ", sent)  # a retry may help
    hidden = [secret.reveal() for secret in sent]
    return _refused(
        response,
        mask(f"no login: the service refused the account of its pool: {error.message}", hidden),
        status_code=status or response.status,
        code=mask(error.code, hidden),
        body=mask(error.body, hidden),
    )


def _token_in(response: Response) -> Secret | GigaClientError:
    data = _decode_json(response.body)
    if not isinstance(data, dict):
        return _unexpected(response, _SESSION, data, "no JSON object")
    token = data.get("accessToken")
    if not isinstance(token, str) or not token.strip():
        fields = ", ".join(sorted(str(name)[:40] for name in list(data)[:10])) or "none"
        return _refused(response, f"no login: {_SESSION} gave no accessToken for the cookie; its fields: {fields}")
    token = token.strip()
    if not fits_header(token):
        return _unexpected(response, _SESSION, data, "an accessToken that no header can carry")
    return Secret(token)


def _cookies_of(response: Response) -> dict[str, Secret]:
    return {cookie.name: Secret(cookie.value) for cookie in response.original.cookies if cookie.value}


def _decode_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except JSON_ERRORS:
        return None


def _refused(response: Response, message: str, **details: Any) -> AuthenticationError:
    return AuthenticationError(
        message,
        **{"status_code": response.status, **details},
        headers=response.headers,
        request_id=response.request_id,
    )


def _unexpected(response: Response, path: str, data: Any, missing: str) -> InvalidResponseError:
    # Only a page of HTML is shown: other JSON, or a part of it, may hold the token itself.
    body = excerpt(response.body)
    title = page_title(body)
    received = f"a page of HTML titled {title!r}" if title is not None else "JSON" if data is not None else "no JSON"
    return InvalidResponseError(
        f"no login: {path} answered with {received} and gave {missing}: check that base_url is a FakeGpt-compatible "
        "service",
        request_id=response.request_id,
        status_code=response.status,
        body=body if title is not None else "",
        headers=response.headers,
    )
