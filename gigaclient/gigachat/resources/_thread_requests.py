"""Send the requests of ``giga.threads``: what its threads, messages and runs have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from gigaclient import types
from gigaclient._core.messages import as_messages, encode
from gigaclient._core.settings import whole as whole_number
from gigaclient.errors import ConfigError, NotFoundError
from gigaclient.gigachat.resource import APIResource, parse_response
from gigaclient.gigachat.resources._validation import advising, checked_text, checked_texts
from gigaclient.gigachat.thread_stream import ThreadEventParser, ThreadStream
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types import APIResponse

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = [
    "MessageLike",
    "ThreadRequests",
    "checked_id",
    "checked_ids",
    "message_list",
    "path_with_query",
    "target_fields",
]

_ResponseT = TypeVar("_ResponseT", bound=APIResponse)

_NOT_FOUND_ADVICE = "threads.list() lists the threads; not every server supports them"

# A string is a message of the user.
MessageLike = types.Message | str | Mapping[str, Any]


class ThreadRequests:
    """Send requests with the client's options, and advice for a server without threads."""

    __slots__ = ("_client",)

    def __init__(self, client: APIResource) -> None:
        self._client = client

    def _request(self, request: Request, type_: type[_ResponseT], options: Mapping[str, Any]) -> _ResponseT:
        return parse_response(self._send(request, options), type_)

    def _send(self, request: Request, options: Mapping[str, Any]) -> Response:
        with _advising_not_found():
            return self._client._send(request, options)

    def _stream(
        self, path: str, body: dict[str, Any], options: Mapping[str, Any], retry_safety: RetrySafety
    ) -> ThreadStream:
        settings = self._client._call_settings(options)
        request = Request(
            "POST", path, body=encode({**body, "stream": True}), accept="text/event-stream", retry_safety=retry_safety
        )
        with _advising_not_found():
            response = self._client._send_stream(request, settings)
        return ThreadStream(response, ThreadEventParser(response.request_id), request_id=response.request_id)

    def __repr__(self) -> str:
        return f"<threads of {self._client!r}>"


@contextlib.contextmanager
def _advising_not_found() -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        if isinstance(error.body, dict) and "model" in str(error.body.get("message")):
            raise  # APIResource._with_model_hint has better advice
        with advising(NotFoundError, _NOT_FOUND_ADVICE):
            raise


def checked_id(thread_id: Any) -> str:
    return checked_text(thread_id, "thread_id", "id")


def checked_ids(ids: Any, name: str) -> Iterable[str]:
    return checked_texts(ids, name) if not isinstance(ids, (list, tuple)) or ids else ()


def target_fields(thread_id: str | None, assistant_id: str | None, model: str | None) -> dict[str, str]:
    """Return ``thread_id`` and ``assistant_id``; ``model`` only without them, because both have their own model."""
    target = {}
    if thread_id is not None:
        target["thread_id"] = checked_id(thread_id)
    if assistant_id is not None:
        target["assistant_id"] = checked_text(assistant_id, "assistant_id", "id")
    if not target and model is not None:
        target["model"] = checked_text(model, "model")
    return target


def path_with_query(path: str, query: Sequence[tuple[str, str]], limit: int | None, before: int | None) -> str:
    pairs = [*query]
    for name, value in (("limit", limit), ("before", before)):
        if value is not None:
            pairs.append((name, str(_checked_number(name, value))))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _checked_number(name: str, value: Any) -> int:
    try:
        return whole_number(0)(value)
    except ConfigError as error:
        reason = error.message
    raise ConfigError(f"{name} {reason}")


def message_list(messages: Any) -> Any:
    if isinstance(messages, (str, Mapping, types.Message)):
        messages = [messages]
    if messages is None:
        messages = []
    if isinstance(messages, Iterable) and not isinstance(messages, (bytes, bytearray, memoryview)):
        messages = [types.Message(role="user", content=item) if isinstance(item, str) else item for item in messages]
    return as_messages(messages)
