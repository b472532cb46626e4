"""Logging in: an account of the pool, a cookie, an access token.

``GET /api/loads`` lists the accounts, ``POST /auth/login`` trades one and a password of our making for a cookie,
``GET /api/auth/session`` trades the cookie for an access token. The password chooses a session of its own on an
account that many share. The session's ``expires`` is the cookie's, not the token's: a login is used until refused.

Functions that see an answer's secrets return errors instead of raising them, since a traceback may print locals.
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from gigaclient._core.error_mapping import excerpt
from gigaclient._core.executor import Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._core.responses import BufferedResponse
from gigaclient._primitives.deadline import Deadline
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.auth.token_manager import Credential
from gigaclient.errors import APIStatusError, AuthenticationError, GigaClientError, InvalidResponseError
from gigaclient.fakegpt.error_mapping import error_in, explained, masked, page_title, status_in
from gigaclient.transport.request import Request

__all__ = ["Cookies", "login_source", "random_string"]

_LETTERS = string.ascii_lowercase + string.digits
_MAX_ANSWER_BYTES = 1024 * 1024
_MAX_TOKEN_CHARACTERS = 64 * 1024

_LOADS, _LOGIN, _SESSION = "/api/loads", "/auth/login", "/api/auth/session"


def random_string(length: int = 10) -> str:
    """Lower-case letters and digits, not to be guessed."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


class Cookies:
    """The cookies of one login, on their way from step to step. For one thread; ``repr`` shows names alone."""

    def __init__(self, header: str | None = None) -> None:
        self._values: dict[str, Secret] = {}
        for pair in (str.__str__(header) if header else "").split(";"):
            name, mark, value = pair.strip().partition("=")
            if mark and name:
                self._values[name] = Secret(value)

    def absorb(self, cookies: Mapping[str, Secret]) -> bool:
        """Take in what an answer sets; whether that was anything."""
        found = {name: value for name, value in cookies.items() if value}
        self._values.update(found)
        return bool(found)

    @property
    def header(self) -> Secret | None:
        """The ``Cookie`` header, if there is any cookie."""
        if not self._values:
            return None
        return Secret("; ".join(f"{name}={value.reveal()}" for name, value in self._values.items()))

    @property
    def secrets(self) -> list[Secret]:
        """The values."""
        return list(self._values.values())

    def __repr__(self) -> str:
        return f"<Cookies {', '.join(self._values) or 'none'}>"


def login_source(core: Executor, cookies: Secret | None = None) -> Callable[[Deadline], Credential]:
    """Logs in anew at each call, with an account chosen at random.

    Args:
        core: sends to the service without a credential, and tries each step again where that helps: no step does harm
            when it is done twice, since the same account and password give the same session.
        cookies: a ``Cookie`` header to begin with.
    """

    def fetch(deadline: Deadline) -> Credential:
        outcome = _log_in(core, Cookies(cookies), deadline)
        if isinstance(outcome, GigaClientError):
            raise outcome
        return outcome

    return fetch


def _log_in(core: Executor, cookies: Cookies, deadline: Deadline) -> Credential | GigaClientError:
    request = Request("GET", _LOADS, query={"t": str(int(time.time()))})
    answer = _ask(core, request, cookies, [], deadline)
    if isinstance(answer, GigaClientError):
        return answer
    pool = _pool_in(answer)
    if isinstance(pool, GigaClientError):
        return pool
    cookies.absorb(answer.cookies)

    token_key, password = secrets.choice(pool), Secret(random_string())
    request = Request(
        "POST",
        _LOGIN,
        body=urlencode({"token_key": token_key.reveal(), "session_password": password.reveal()}).encode("utf-8"),
        content_type="application/x-www-form-urlencoded",
        accept="*/*",
        accept_redirect=True,
    )
    sent = [token_key, password]
    answer = _ask(core, request, cookies, sent, deadline)
    if isinstance(answer, GigaClientError):
        return answer
    refusal = _refusal_of(answer, sent)
    if refusal is not None:
        return refusal
    if not cookies.absorb(answer.cookies):
        return _refused(answer, "no login: the service accepted it and set no cookie")

    answer = _ask(core, Request("GET", _SESSION), cookies, sent, deadline)
    if isinstance(answer, GigaClientError):
        return answer
    token = _token_in(answer)
    if isinstance(token, GigaClientError):
        return token
    cookies.absorb(answer.cookies)
    return Credential(token, cookies=cookies.header)


def _ask(
    core: Executor, request: Request, cookies: Cookies, sent: list[Secret], deadline: Deadline
) -> BufferedResponse | GigaClientError:
    header = cookies.header
    options = RequestOptions(headers={"Cookie": header} if header is not None else {})
    try:
        return core.fetch(request, options, limit=_MAX_ANSWER_BYTES, deadline=deadline)
    except APIStatusError as error:
        return explained(error, f"no login: {request.path}: ", [*sent, *cookies.secrets])


def _pool_in(answer: BufferedResponse) -> list[Secret] | GigaClientError:
    data = _json(answer.body)
    error = error_in(data, request_id=answer.request_id, headers=answer.headers)
    if error is not None:
        return explained(error, f"no login: {_LOADS}: ")
    loads = data.get("loads") if isinstance(data, dict) else None
    if not isinstance(loads, list):
        return _unexpected(answer, _LOADS, data, "no list of accounts")
    pool = [
        Secret(item["token_id"])
        for item in loads
        if isinstance(item, dict) and isinstance(item.get("token_id"), str) and item["token_id"]
    ]
    if not pool:
        return InvalidResponseError(
            f"no login: {_LOADS} lists no account: the service's pool is empty, try again later",
            request_id=answer.request_id,
            status_code=answer.status,
            headers=answer.headers,
        )
    return pool


def _refusal_of(answer: BufferedResponse, sent: list[Secret]) -> GigaClientError | None:
    """A login may fail under HTTP 200, with words or a code in the body."""
    data = _json(answer.body)
    if data is None and answer.status < 300 and not answer.cookies and page_title(excerpt(answer.body)) is not None:
        return _unexpected(answer, _LOGIN, data, "no cookie")
    error = error_in(data, request_id=answer.request_id, headers=answer.headers)
    if error is None and isinstance(data, dict) and status_in(data) is not None:
        error = APIStatusError("it names no reason", status_code=status_in(data) or 0, code=data.get("code"), body=data)
    if error is None:
        return None
    status = status_in(data) if isinstance(data, dict) else None
    if status is not None and (status == 429 or status >= 500):
        return explained(error, f"no login: {_LOGIN}: ", sent)  # another try may help
    hidden = [secret.reveal() for secret in sent]
    return _refused(
        answer,
        masked(f"no login: the service refused the account of its pool: {error.message}", hidden),
        status_code=status or answer.status,
        code=masked(error.code, hidden),
        body=masked(error.body, hidden),
    )


def _token_in(answer: BufferedResponse) -> Secret | GigaClientError:
    data = _json(answer.body)
    if not isinstance(data, dict):
        return _unexpected(answer, _SESSION, data, "no JSON object")
    token = data.get("accessToken")
    if not isinstance(token, str) or not token.strip():
        fields = ", ".join(sorted(str(name)[:40] for name in list(data)[:10])) or "none"
        return _refused(answer, f"no login: {_SESSION} gave no accessToken for the cookie; its fields: {fields}")
    token = token.strip()
    if len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        return _unexpected(answer, _SESSION, data, "an accessToken that no header can carry")
    return Secret(token)


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except JSON_ERRORS:
        return None


def _refused(answer: BufferedResponse, message: str, **details: Any) -> AuthenticationError:
    return AuthenticationError(
        message,
        **{"status_code": answer.status, **details},
        headers=answer.headers,
        request_id=answer.request_id,
    )


def _unexpected(answer: BufferedResponse, place: str, data: Any, what: str) -> InvalidResponseError:
    # Nothing but a page is shown: JSON of another shape, or what is left of it, may hold the very token.
    body = excerpt(answer.body)
    title = page_title(body)
    came = f"a page of HTML titled {title!r}" if title is not None else "JSON" if data is not None else "no JSON"
    return InvalidResponseError(
        f"no login: {place} answered with {came} and gave {what}: check that base_url is a FakeGpt-compatible service",
        request_id=answer.request_id,
        status_code=answer.status,
        body=body if title is not None else "",
        headers=answer.headers,
    )
