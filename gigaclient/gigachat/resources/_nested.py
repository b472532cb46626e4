"""The base of the groups of endpoints that are attributes of the client: ``giga.threads``, ``giga.assistants``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from gigaclient.errors import NotFoundError
from gigaclient.gigachat.resource import APIResource, Resource, parse_response
from gigaclient.gigachat.resources._validation import advising
from gigaclient.types import APIResponse

if TYPE_CHECKING:
    from gigaclient.transport import Response
    from gigaclient.transport.request import Request

__all__ = ["NestedResource"]

_ResponseT = TypeVar("_ResponseT", bound=APIResponse)


class NestedResource(Resource):
    """Sends requests with the client's options, and adds advice to an error 404."""

    _name: ClassVar[str]
    _not_found_advice: ClassVar[str]

    _client: APIResource

    def _request(self, request: Request, type_: type[_ResponseT], options: Mapping[str, Any]) -> _ResponseT:
        return parse_response(self._send(request, options), type_)

    def _send(self, request: Request, options: Mapping[str, Any]) -> Response:
        with self._advising_not_found():
            return self._client._send(request, options)

    @contextlib.contextmanager
    def _advising_not_found(self) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            if isinstance(error.body, dict) and "model" in str(error.body.get("message")):
                raise  # suggestions.add_suggestions has better advice
            with advising(NotFoundError, self._not_found_advice):
                raise

    def __repr__(self) -> str:
        return f"<{self._name} of {self._client!r}>"
