"""Fetch access tokens from the OAuth host, or from the ``/token`` route of stands with user and password.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-token
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from gigaclient._core.error_mapping import CLOCKS_AGREE_SECONDS, server_time
from gigaclient._core.executor import Executor
from gigaclient._core.request_options import RequestOptions
from gigaclient._primitives.deadline import Deadline
from gigaclient._primitives.secret import Secret, mask
from gigaclient._primitives.serialization import decode_or_none
from gigaclient.auth.token_manager import Credential, fits_header
from gigaclient.errors import APIStatusError, AuthenticationError, GigaClientError, InvalidResponseError
from gigaclient.transport.request import Request

__all__ = ["key_source", "password_source", "read_token"]

_MAX_ANSWER_BYTES = 256 * 1024

# Seconds reach this number in the year 5138, milliseconds passed it in 1973.
_MILLISECONDS_FROM = 10**11

_ONE_DAY_SECONDS = 86400.0

_ADVICE = {
    1: "the scope is not one the service knows: GIGACHAT_API_PERS, GIGACHAT_API_B2B or GIGACHAT_API_CORP",
    4: "the authorization key is malformed: copy it again from the project's page in Studio",
    5: "no scope arrived: a proxy may have changed the request",
    6: "the authorization key is unknown or was revoked: make a new one on the project's page in Studio",
    7: "this key belongs to another plan: try scope GIGACHAT_API_PERS (persons), GIGACHAT_API_B2B (prepaid) or "
    "GIGACHAT_API_CORP (postpaid)",
}
_ADVICE_BY_STATUS = {
    401: "the authorization key, or the user and password, are not known there: copy them again",
    403: "a gateway on the way may have answered: check auth_url and the proxy",
    404: "there is nothing at that address: check auth_url; user and password need a base_url that has /token",
    405: "there is something else at that address: check auth_url",
}
# All 4xx except 408 and 429, which are temporary.
_REFUSALS = frozenset(range(400, 500)) - {408, 429}


def key_source(executor: Executor, auth_url: str, key: Secret, scope: str) -> Callable[[Deadline], Credential]:
    """Return a function that fetches tokens from the OAuth host with an authorization key."""
    authorization = Secret("Basic " + key.reveal())
    if not urlsplit(auth_url).path:
        auth_url += "/"
    request = Request(
        "POST",
        auth_url,
        body=urlencode({"scope": scope}).encode("ascii"),
        content_type="application/x-www-form-urlencoded",
        attempt_id="RqUID",
    )
    return partial(_request, executor, request, authorization)


def password_source(executor: Executor, base_url: str, user: str, password: Secret) -> Callable[[Deadline], Credential]:
    """Return a function that fetches tokens from ``{base_url}/token`` with user and password."""
    pair = f"{user}:{password.reveal()}".encode()
    authorization = Secret("Basic " + base64.b64encode(pair).decode("ascii"))
    request = Request("POST", base_url + "/token", body=b"", content_type=None)
    return partial(_request, executor, request, authorization)


def _request(executor: Executor, request: Request, authorization: Secret, deadline: Deadline) -> Credential:
    result = _fetch(executor, request, authorization, deadline)
    if isinstance(result, GigaClientError):
        raise result
    return result


def _fetch(
    executor: Executor, request: Request, authorization: Secret, deadline: Deadline
) -> Credential | GigaClientError:
    # The error is returned, without its traceback: the frames below hold the token or its beginning, and a traceback
    # may show local variables.
    options = RequestOptions(headers={"Authorization": authorization})
    try:
        response = executor.fetch(request, options, limit=_MAX_ANSWER_BYTES, deadline=deadline)
    except APIStatusError as error:
        failure: GigaClientError = _rejection(error, authorization.reveal().partition(" ")[2])
    except GigaClientError as error:
        failure = error
    else:
        result = read_token(response.body, response.headers, wall=time.time(), monotonic=time.monotonic())
        if isinstance(result, Credential):
            return result
        failure = result
        failure.request_id = response.request_id
        failure.status_code = response.status
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None
    return failure


def _rejection(error: APIStatusError, key: str) -> APIStatusError:
    body = mask(error.body, [key])
    reason = body.get("message") if isinstance(body, dict) else None
    if not isinstance(reason, str) or not reason:
        reason = mask(error.message, [key]).partition(" - ")[0]
    # Sources disagree on the status of these codes, so the code decides.
    advice = _ADVICE.get(error.code) if isinstance(error.code, int) else None
    if advice is None:
        advice = _ADVICE_BY_STATUS.get(error.status_code)
    error_type = AuthenticationError if error.status_code in _REFUSALS else type(error)
    rejection = error_type(
        f"no access token: {reason}" + (f" - {advice}" if advice else ""),
        status_code=error.status_code,
        code=error.code,
        body=body,
        headers=error.headers,
        request_id=error.request_id,
        retry_after=error.retry_after,
        url=error.url,
    )
    rejection.attempts = error.attempts
    return rejection


def read_token(
    body: bytes, headers: Mapping[str, str], *, wall: float, monotonic: float
) -> Credential | InvalidResponseError:
    """Return a credential from either of the two response forms of token endpoints.

    These are ``{"access_token": …, "expires_at": <ms>}`` and ``{"tok": …, "exp": <s>}``; the size of the number decides
    between seconds and milliseconds. Without a readable expiry in the future, the token is used until the service
    refuses it. The lifetime is measured against the server's ``Date``, so a wrong local clock does not matter.

    Args:
        body: the body of the response.
        headers: its headers, names in lower case.
        wall: this machine's Unix time, seconds.
        monotonic: the monotonic clock at the same moment, seconds.

    Returns:
        The credential, or the error for a response without a usable token. The error names the fields and never their
        values. It is returned because the frames of this function hold the token, and a traceback may show them.
    """
    data = decode_or_none(body)
    if not isinstance(data, dict):
        return InvalidResponseError("the token endpoint did not answer with a JSON object")
    token = _first_text(data, "access_token", "tok")
    if not token:
        return InvalidResponseError(f"the token endpoint's answer holds no token; its fields: {_field_names(data)}")
    if not fits_header(token):
        return InvalidResponseError("the token endpoint's answer holds a token that no header can carry")
    expires_at = _unix_seconds(data.get("expires_at"))
    if expires_at is None:
        expires_at = _unix_seconds(data.get("exp"))
    lifetime = _lifetime(expires_at, headers, wall) if expires_at is not None else 0.0
    if expires_at is None or lifetime <= 0:
        return Credential(Secret(token))
    return Credential(
        Secret(token),
        expires_at=monotonic + lifetime,
        margin=Credential.margin_for(lifetime),
        expires_at_ms=int(expires_at * 1000),
    )


def _first_text(data: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _field_names(data: Mapping[str, Any]) -> str:
    return ", ".join(sorted(str(name)[:40] for name in list(data)[:10])) or "none"


def _unix_seconds(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not 0 < number < math.inf or number > 10**17:
        return None
    return number / 1000 if number >= _MILLISECONDS_FROM else number


def _lifetime(expires_at: float, headers: Mapping[str, str], wall: float) -> float:
    by_local_clock = expires_at - wall
    date = server_time(headers)
    # If both clocks are right, the local one is used, because it is finer than the header.
    if date is None or abs(wall - date) < CLOCKS_AGREE_SECONDS:
        return by_local_clock
    by_server_clock = expires_at - date
    # Some gateways send a wrong Date. It is ignored if the token would live longer than a day by it, and not by the
    # local clock.
    return by_local_clock if 0 < by_local_clock <= _ONE_DAY_SECONDS < by_server_clock else by_server_clock
