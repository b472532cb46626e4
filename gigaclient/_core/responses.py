"""A response whose body has been read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from gigaclient._core.error_mapping import error_in, excerpt
from gigaclient._primitives.secret import Secret
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient._primitives.struct import FrozenStruct
from gigaclient.errors import APIStatusError, GigaClientError, InvalidResponseError
from gigaclient.types.coercion import coerce

__all__ = ["BufferedResponse"]

T = TypeVar("T")


class BufferedResponse(FrozenStruct, frozen=True):
    """A response of the API with its whole body."""

    body: bytes
    status: int
    headers: dict[str, str]
    request_id: str
    cookies: Mapping[str, Secret] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"<BufferedResponse {self.status}, {len(self.body)} bytes, request {self.request_id}>"

    def decode(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Decode the body into the type that the API documents.

        Raises:
            APIStatusError: the body is an error object although the status is 2xx.
            InvalidResponseError: the body is something else.
        """
        try:
            return decoder.decode(self.body)
        except JSON_ERRORS as error:
            reason = str(error)
        try:
            data = msgspec.json.decode(self.body)
        except JSON_ERRORS as error:
            # Not JSON at all. The typed decoder may have stopped at a wrong type before it met the syntax error.
            failure: GigaClientError = self.invalid(
                "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
            )
        else:
            try:
                return coerce(data, decoder.type)
            except JSON_ERRORS:
                failure = error_in(data, request_id=self.request_id) or self.invalid(reason)
        raise failure

    def refusal(self) -> APIStatusError | None:
        """Return the error if the body is an error object although the status is 2xx, else None."""
        try:
            data = msgspec.json.decode(self.body)
        except JSON_ERRORS:
            return None
        return error_in(data, request_id=self.request_id)

    def invalid(self, reason: str) -> InvalidResponseError:
        """Return the error for a body that does not match the API's documentation."""
        content_type = self.headers.get("content-type", "no Content-Type")
        return InvalidResponseError(
            f"the answer is not what the API promises ({reason}; {content_type}): {excerpt(self.body)[:120]!r}",
            request_id=self.request_id,
            status_code=self.status,
            body=excerpt(self.body),
            headers=self.headers,
        )
