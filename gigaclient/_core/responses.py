"""A response that was read whole."""

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
    """A whole answer of the API."""

    body: bytes
    status: int
    headers: dict[str, str]
    request_id: str
    cookies: Mapping[str, Secret] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"<Answered {self.status}, {len(self.body)} bytes, request {self.request_id}>"

    def decode(self, decoder: msgspec.json.Decoder[T]) -> T:
        """The body as the type that the API promises.

        Raises:
            APIStatusError: the body is an error object, in spite of its status.
            InvalidResponseError: it is something else.
        """
        try:
            return decoder.decode(self.body)
        except JSON_ERRORS as error:
            reason = str(error)
        try:
            data = msgspec.json.decode(self.body)
        except JSON_ERRORS as error:
            # Whether it is JSON at all: the typed decoder may have stopped at a type before the fault.
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
        """The error that the body holds in spite of its status, if that is what it is."""
        try:
            data = msgspec.json.decode(self.body)
        except JSON_ERRORS:
            return None
        return error_in(data, request_id=self.request_id)

    def invalid(self, reason: str) -> InvalidResponseError:
        """The error for a body that is not what the API promises."""
        kind = self.headers.get("content-type", "no Content-Type")
        return InvalidResponseError(
            f"the answer is not what the API promises ({reason}; {kind}): {excerpt(self.body)[:120]!r}",
            request_id=self.request_id,
            status_code=self.status,
            body=excerpt(self.body),
            headers=self.headers,
        )
