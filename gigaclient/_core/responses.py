"""Decode a response that was read whole, and find the error object that a 2xx status may hide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import msgspec

from gigaclient._core.error_mapping import error_in, excerpt
from gigaclient._primitives.decoding import decoder
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient._primitives.surrogates import BROKEN_CHARACTERS, with_whole_characters
from gigaclient.errors import APIStatusError, GigaClientError, InvalidResponseError
from gigaclient.types import APIResponse
from gigaclient.types.base import set_attribute
from gigaclient.types.coercion import coerce
from gigaclient.types.completion import add_repairs

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["decode", "embedded_error", "invalid_response", "parse_response", "refuse_page"]

_MAX_PAGE_BYTES = 64 * 1024

T = TypeVar("T")
ResponseT = TypeVar("ResponseT", bound=APIResponse)


def parse_response(response: Response, type_: type[ResponseT]) -> ResponseT:
    """Decode a response as ``type_``, and attach its raw form, request id and headers.

    Raises:
        APIStatusError: the body is an error object although the status is 2xx.
        InvalidResponseError: the body is something else.
    """
    typed = decoder(type_)
    try:
        answer = typed.decode(response.body)
    except JSON_ERRORS:
        answer = None
    if answer is None:
        # Not in a local variable before decode(): a traceback may show what the server repeated.
        return decode(response, typed).attach(
            raw=response.body, request_id=response.request_id, headers=response.headers
        )
    # As attach() does, without another function on the way of each call.
    metadata: dict[str, Any] = {"raw": response.body, "request_id": response.request_id, "headers": response.headers}
    set_attribute(answer, "_hidden", metadata)
    return answer


def decode(response: Response, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode the body into the type of ``decoder``; raise as :func:`parse_response` does."""
    try:
        return decoder.decode(response.body)
    except JSON_ERRORS as error:
        reason = str(error)
    repairs: tuple[str, ...] = ()
    failure: GigaClientError
    try:
        try:
            data = msgspec.json.decode(response.body)
        except JSON_ERRORS:
            data = msgspec.json.decode(with_whole_characters(response.body))
            repairs = (BROKEN_CHARACTERS,)
    except JSON_ERRORS:
        # Not JSON at all. The typed decoder may have stopped at a wrong type before it met the syntax error.
        failure = invalid_response(response, "not JSON")
    else:
        try:
            decoded = coerce(data, cast(type[T], decoder.type))
        except JSON_ERRORS:
            reported = error_in(data, request_id=response.request_id)
            failure = invalid_response(response, reason) if reported is None else response.mask_echo(reported)
        else:
            add_repairs(decoded, repairs)
            return decoded
    raise failure


def embedded_error(response: Response) -> APIStatusError | None:
    """Return the error if the body is an error object although the status is 2xx, else None."""
    try:
        data = msgspec.json.decode(response.body)
    except JSON_ERRORS:
        return None
    error = error_in(data, request_id=response.request_id)
    return response.mask_echo(error) if error is not None else None


def invalid_response(response: Response, reason: str) -> InvalidResponseError:
    """Return the error for a body that does not match the API's documentation."""
    content_type = response.headers.get("content-type", "no Content-Type")
    error = InvalidResponseError(
        f"the answer is not what the API promises ({reason}; {content_type}): {excerpt(response.body)[:120]!r}",
        request_id=response.request_id,
        status_code=response.status,
        body=excerpt(response.body),
        headers=response.headers,
    )
    return response.mask_echo(error)


def refuse_page(response: Response, describe: Callable[[Response], GigaClientError]) -> NoReturn:
    """Raise the error that ``describe`` returns for a response that is no stream; its ``body`` has the beginning."""
    response.body = response.read_some(_MAX_PAGE_BYTES)
    failure = response.mask_echo(describe(response))
    response.observer.end(failure)
    raise failure
