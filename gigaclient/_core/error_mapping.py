"""Map an error response to an exception, with advice where it helps. Pure functions."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._core.retry import parse_retry_after
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import APIStatusError

__all__ = ["CLOCKS_AGREE_SECONDS", "error_in", "excerpt", "server_time", "status_error"]

_EXCERPT_CHARACTERS = 500
_TITLE_WITHIN_BYTES = 4096
_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)

CLOCKS_AGREE_SECONDS = 5.0
"""A server's ``Date`` and this machine's clock differ by less than this when both are right."""

_ADVICE = {
    401: "the access token or key was not accepted: check credentials and scope",
    402: "the token package of this model is used up: buy one, or choose another model; get_balance() shows the rest",
    403: "this plan or project may not do that: get_balance() is for prepaid packages, batches and check_ai() for "
    "postpaid contracts, and v2 addresses serve chat alone",
    413: "shorten the prompt or the files; tokens_count() measures them",
    429: "too many requests or parallel streams for this plan: set max_connections, or try again later",
}

# Known messages of the API: a status, a pattern for the message in lower case, and the advice. The first match counts.
_ADVICE_BY_MESSAGE: tuple[tuple[int, str, str], ...] = (
    (
        400,
        "invalid json syntax",
        "the API also returns this for a field with a wrong name or type: check names, types and roles",
    ),
    (
        400,
        "in response_format",
        'response_format takes {"type": "json_schema", "schema": {…}} and no other type but "text"',
    ),
    (400, "empty schema", "give response_format a schema with at least one property"),
    (400, "invalid model version", "leave out what follows the colon in the model's name; get_model() shows the build"),
    *(
        (
            status,
            "invalid function result",
            "the content of a function message is a JSON object as a string: pass a dict, and the client encodes it",
        )
        for status in (400, 422)
    ),
    (401, "token has expired", "pass credentials= and the client gets new tokens by itself"),
    (404, "no such model", "get_models() lists what this key may use"),
    (404, "batch task not found", "get_batches() lists the batches of this key"),
    (
        404,
        "unknown tool",
        "tools are functions, web_search, code_interpreter, image_generate, url_content_extraction and "
        "model_3d_generate, and not every model has each",
    ),
    (404, r"\bfile", "get_files() lists the files of this key; one made under an X-Client-ID needs client_id= again"),
    (404, "not found", "there is nothing at that address: check base_url, and the id if there is one in the call"),
    (
        422,
        "repetition_penalty must be",
        "1.0 has no effect, a higher value reduces repetition; leave it out for the default",
    ),
    (422, "must be in range", "choose a value in that range, or leave the field out for the default"),
    (
        422,
        "system message must be the first",
        "put all instructions into one system message, and that at the start of messages",
    ),
    (
        422,
        "function call must have a result",
        'append a message with role "function", the function\'s name and its result after the message that calls it',
    ),
    (
        422,
        "function result must have",
        "append the model's message with its function_call, unchanged, before the function's result",
    ),
    (422, "invalid function names", "rename the function; letters, digits and underscores are safe everywhere"),
    (
        422,
        "does not support functions",
        "choose another model, GigaChat-2 for one; get_models() lists them",
    ),
    (422, "is not in functions", 'function_call names a function that functions does not list: add it, or pass "auto"'),
    (
        422,
        "is unavailable",
        "this model or plan has no such tool: leave it out of tools, or choose another model",
    ),
    (422, "context", "the files and messages together are longer than the model reads: shorten or split them"),
)


def status_error(
    status: int, body: bytes, headers: Mapping[str, str], *, request_id: str | None, now: float
) -> APIStatusError:
    """Return the error for a response with an error status.

    Args:
        status: the HTTP status.
        body: the response body, or its beginning: JSON, HTML, text or nothing.
        headers: the response headers, names in lower case.
        request_id: the id of the request.
        now: Unix time in seconds, for ``Retry-After`` as a date. If the response has a ``Date`` that differs, that is
            used instead.
    """
    decoded = _decode(body)
    message, code = _message_and_code(decoded)
    if 300 <= status <= 399:
        target = headers.get("location", "").partition("?")[0]
        target = target or "another address"
        message = f"the server redirects to {target}, and redirects are not followed: set base_url to it"
    elif not message:
        message = _title(body) or f"HTTP status {status}"
    advice = _advice(status, message, headers)
    return APIStatusError.class_for(status)(
        f"{message} - {advice}" if advice else message,
        status_code=status,
        code=code,
        body=decoded,
        content=body,
        headers=headers,
        request_id=request_id,
        retry_after=parse_retry_after(headers.get("retry-after"), _server_now(headers, now)),
    )


def error_in(data: Any, *, request_id: str | None) -> APIStatusError | None:
    """Return the error in a response of status 200 or in an event of a stream, or None.

    Known shapes: ``{"status": int, "message": str}``, as the API sends it; ``{"code": int, "message": str}``; and
    ``{"error": …}`` with such an object or a string, as gateways send it. Without a valid status it counts as 500.
    """
    if not isinstance(data, dict) or data.get("choices") or data.get("messages"):
        return None
    inner = data.get("error")
    source = inner if isinstance(inner, dict) else data
    message = source.get("message") or source.get("detail") or (inner if isinstance(inner, str) else None)
    values = [_number(object_.get(name)) for object_ in (source, data) for name in ("status", "status_code", "code")]
    numbers = [number for number in values if number is not None]
    if not isinstance(message, str) or (inner is None and (not numbers or 200 <= numbers[0] <= 299)):
        return None
    number = next((number for number in numbers if 400 <= number <= 599), 500)
    code = source.get("code")
    advice = _advice(number, message, {})
    return APIStatusError.class_for(number)(
        f"{message} - {advice}" if advice else message,
        status_code=number,
        code=code if isinstance(code, (int, str)) else None,
        body=data,
        request_id=request_id,
    )


def excerpt(body: bytes) -> str:
    """Return the beginning of a body as printable text for an error message."""
    text = body[: 4 * _EXCERPT_CHARACTERS].decode("utf-8", "replace")[:_EXCERPT_CHARACTERS].replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except JSON_ERRORS:
        return excerpt(body)


def _message_and_code(decoded: Any) -> tuple[str, int | str | None]:
    if not isinstance(decoded, dict):
        return "", None
    code = decoded.get("code")
    message = decoded.get("message") or decoded.get("detail") or decoded.get("error")
    if isinstance(message, dict):
        code = message.get("code", code)
        message = message.get("message")
    return (message if isinstance(message, str) else ""), (code if isinstance(code, (int, str)) else None)


def _title(body: bytes) -> str:
    found = _TITLE.search(body[:_TITLE_WITHIN_BYTES].decode("utf-8", "replace"))
    if found:
        import html  # loaded only for HTML pages: its table of two thousand entities takes time

        title = " ".join(html.unescape(found[1]).split())[:200]
        if title:
            return f"a page of HTML titled {title!r}"
    text = excerpt(body).strip()
    if text.startswith("<"):
        return "a page of HTML"
    return text.partition("\n")[0][:200]


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def server_time(headers: Mapping[str, str]) -> float | None:
    """Return the Unix time of the ``Date`` header; None without a valid one."""
    try:
        return email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        return None


def _server_now(headers: Mapping[str, str], now: float) -> float:
    date = server_time(headers)
    return now if date is None or abs(now - date) < CLOCKS_AGREE_SECONDS else date


def _advice(status: int, message: str, headers: Mapping[str, str]) -> str:
    if status == 403 and message == "Unauthorized":
        return "the gateway returns this when User-Agent is missing or blank: do not override it"
    if status == 403 and "html" in headers.get("content-type", ""):
        return "this page comes from a gateway, not from the API: check base_url and the proxy"
    lowered = message.lower()
    for number, pattern, advice in _ADVICE_BY_MESSAGE:
        if number == status and re.search(pattern, lowered):
            return advice
    return _ADVICE.get(status, "")
