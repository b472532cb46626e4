"""Decode a response that was read whole, and find the error object that a 2xx status may hide."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from gigaclient._core.error_mapping import error_in, excerpt
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient._primitives.surrogates import BROKEN_CHARACTERS, with_whole_characters
from gigaclient.errors import APIStatusError, GigaClientError, InvalidResponseError
from gigaclient.types.coercion import coerce
from gigaclient.types.completion import add_repairs

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["decode", "embedded_error", "invalid_response"]

T = TypeVar("T")


def decode(response: Response, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode the body into the type that the API documents.

    Raises:
        APIStatusError: the body is an error object although the status is 2xx.
        InvalidResponseError: the body is something else.
    """
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
            decoded = coerce(data, decoder.type)
        except JSON_ERRORS:
            failure = error_in(data, request_id=response.request_id) or invalid_response(response, reason)
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
    return error_in(data, request_id=response.request_id)


def invalid_response(response: Response, reason: str) -> InvalidResponseError:
    """Return the error for a body that does not match the API's documentation."""
    content_type = response.headers.get("content-type", "no Content-Type")
    return InvalidResponseError(
        f"the answer is not what the API promises ({reason}; {content_type}): {excerpt(response.body)[:120]!r}",
        request_id=response.request_id,
        status_code=response.status,
        body=excerpt(response.body),
        headers=response.headers,
    )
