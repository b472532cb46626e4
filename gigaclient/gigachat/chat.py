"""Chat: ``giga.chat`` and ``giga.stream`` ask API v1; the methods of ``giga.chat`` ask API v2."""

from __future__ import annotations

from typing import Any

from gigaclient.context import chat_url_cvar
from gigaclient.core import Call, CallOptions
from gigaclient.errors import ConfigError
from gigaclient.gigachat.body import chat_body
from gigaclient.gigachat.chunks import ChunkInterpreter
from gigaclient.gigachat.road import Road, answer_of
from gigaclient.interface import Messages
from gigaclient.options import call_options
from gigaclient.retry import Repeat
from gigaclient.stream import ChatStream
from gigaclient.transport import origin_of
from gigaclient.types import ChatCompletion

__all__ = ["ChatEndpoints", "ChatResource"]

# Far above any answer there is: small JSON objects grow thirtyfold when they are decoded.
MAX_CHAT_BYTES = 16 * 1024 * 1024


class ChatEndpoints(Road):
    """``/chat/completions``."""

    @property
    def chat(self) -> ChatResource:
        """``giga.chat(messages)`` asks API v1 and waits for the whole answer; its methods ask API v2."""
        return ChatResource(self)

    def stream(self, messages: Messages, **options: Any) -> ChatStream:
        """Ask, and get the answer as it comes: ``POST /chat/completions`` with ``stream``.

        Args:
            messages: as for ``giga.chat``.
            options: as for ``giga.chat``, and ``update_interval`` (seconds between chunks) and ``event_timeout``.

        Returns:
            The stream. The request has been sent and its status checked; what can go wrong later is told by
            :class:`~gigaclient.stream.ChatStream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as ``giga.chat``.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
        """
        return self._open_stream(*self._chat_call(messages, options, stream=True))

    def _chat_call(self, messages: Messages, options: dict[str, Any], *, stream: bool) -> tuple[Call, CallOptions]:
        self._check_open()
        settings = self._settings
        call_settings = call_options(options, self._core.timeouts, settings.session_id)
        call = Call(
            "POST",
            self._chat_path(),
            body=chat_body(messages, options, settings.body_defaults, stream=stream),
            accept="text/event-stream" if stream else "application/json",
            repeat=Repeat.PAID,
        )
        return call, call_settings

    def _chat_path(self) -> str:
        path = chat_url_cvar.get()
        if "://" in path:
            return path
        if not path.startswith("/"):
            raise ConfigError(f"chat_url_cvar must be an address or begin with a slash, not {path!r}")
        return origin_of(self._settings.base_url) + path if _is_versioned(path) else path

    def _open_stream(self, call: Call, call_settings: CallOptions) -> ChatStream:
        reply, request_id = self._opened(call, call_settings)
        return ChatStream(reply, ChunkInterpreter(request_id), request_id=request_id)

    def _completion(self, call: Call, call_settings: CallOptions) -> ChatCompletion:
        answered = self._core.fetch(call, call_settings, limit=MAX_CHAT_BYTES)
        completion = answer_of(answered, ChatCompletion)
        if not completion.choices:
            raise answered.refusal() or answered.invalid("it has no choices")
        return completion


class ChatResource:
    """``giga.chat``: called, it asks API v1; its methods ask API v2.

    It holds nothing of its own: write ``giga.chat`` wherever it is needed.
    """

    __slots__ = ("_client",)

    def __init__(self, client: ChatEndpoints) -> None:
        self._client = client

    def __call__(self, messages: Messages, **options: Any) -> ChatCompletion:
        """Ask, and wait for the whole answer: ``POST /chat/completions`` of API v1.

        Args:
            messages: a string (one user message), a list of dicts or :class:`~gigaclient.types.Message`, or a whole
                request: a :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``.
            options: fields of the body (``model``, ``temperature``, ``max_tokens``, ``functions`` …; the fields of
                :class:`~gigaclient.types.Chat` and any that the API may add), and of the call: ``timeout``,
                ``deadline``, ``max_retries``, ``headers``, ``request_id``, ``session_id``, ``client_id``,
                ``service_id``, ``operation_id``, ``trace_id``, ``agent_id``, ``authorization``.

        Returns:
            The answer; ``.text`` is what the model said, ``.usage`` what it cost.

        Raises:
            ConfigError: the request cannot be sent as it is.
            APIStatusError: the server refused it; the class tells how.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            InvalidResponseError: an answer came that is not one.

        Repeated after 429 and 5xx and when surely not sent, ``max_retries`` times. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat
        """
        client = self._client
        return client._completion(*client._chat_call(messages, options, stream=False))

    def __repr__(self) -> str:
        return f"<chat of {self._client!r}>"


def _is_versioned(path: str) -> bool:
    first = path.lstrip("/").split("/")
    name = first[1] if first[0] == "api" and len(first) > 1 else first[0]
    return name[:1] == "v" and name[1:].isdigit()
