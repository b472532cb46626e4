"""The chat requests of API v2, and the addresses of both versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gigaclient._core.call_arguments import prompt_of
from gigaclient._core.request_options import RequestOptions, call_options
from gigaclient._core.responses import embedded_error, invalid_response
from gigaclient.context import chat_completions_url_cvar
from gigaclient.errors import ConfigError
from gigaclient.gigachat.attachments import Uploader, with_attachments
from gigaclient.gigachat.resource import APIResource, names_a_version, parse_response
from gigaclient.transport import origin_of
from gigaclient.transport.request import EVENT_STREAM, Request, RetrySafety

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gigaclient.gigachat.v2.stream import ChatResponseStream
    from gigaclient.protocols import Messages
    from gigaclient.types import ChatCompletionRequest, ChatCompletionResponse, ChatMessage, Message

    MessagesV2 = Messages | Iterable[ChatMessage | Message | Mapping[str, Any]] | ChatMessage | ChatCompletionRequest

__all__ = ["MAX_CHAT_BYTES", "ChatRequests"]

# Far above any real response. Small JSON objects take thirty times as much memory when they are decoded.
MAX_CHAT_BYTES = 16 * 1024 * 1024


class ChatRequests(APIResource):
    """The requests to ``/chat/completions`` of API v2; see :class:`~gigaclient.gigachat.chat.ChatEndpoints` for v1."""

    def _with_attachments(self, messages: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Move ``attachments`` of the options into the messages, and with ``upload`` upload local files."""
        if "attachments" not in options and "upload" not in options:
            return messages, options
        options = dict(options)
        extra, upload = options.pop("attachments", None), options.pop("upload", None)
        return with_attachments(messages, extra, Uploader(self, options) if upload else None), options

    def _resolve_path(self, variable: str, path: str) -> str:
        if "://" in path:
            return path
        if not path.startswith("/"):
            raise ConfigError(f"{variable} must be an address or begin with a slash, not {path!r}")
        return origin_of(self._settings.base_url) + path if names_a_version(path) else path

    def _chat_v2_request(
        self, messages: MessagesV2 | None, options: Any, *, stream: bool
    ) -> tuple[Request, RequestOptions]:
        from gigaclient.gigachat.v2.request_body import CHAT_V2_FIELDS, chat_v2_body

        self._check_open()
        settings = self._settings
        request_options = call_options(options, self._executor.timeouts, settings.session_id)
        messages = prompt_of(messages, options, CHAT_V2_FIELDS)
        messages, options = self._with_attachments(messages, options)
        path = chat_completions_url_cvar.get()
        request = Request(
            "POST",
            settings.chat_v2_url if path is None else self._resolve_path("chat_completions_url_cvar", path),
            body=chat_v2_body(messages, options, settings.body_defaults, stream=stream),
            accept=EVENT_STREAM if stream else "application/json",
            retry_safety=RetrySafety.BILLABLE,
        )
        return request, request_options

    # The modules of API v2 are imported late: most programs never use them.

    def _open_v2_stream(self, request: Request, request_options: RequestOptions) -> ChatResponseStream:
        from gigaclient.gigachat.v2.stream import ChatResponseStream

        response = self._send_stream(request, request_options)
        return ChatResponseStream(response, request_id=response.request_id)

    def _v2_completion(self, request: Request, request_options: RequestOptions) -> ChatCompletionResponse:
        from gigaclient.gigachat.v2.stream_events import failure_in
        from gigaclient.types.chat_v2 import ChatCompletionResponse

        response = self._send_with_options(request, request_options, limit=MAX_CHAT_BYTES)
        completion = parse_response(response, ChatCompletionResponse)
        failure = failure_in(completion)
        if failure is not None:
            raise failure
        if not completion.messages:
            raise embedded_error(response) or invalid_response(response, "it has no messages")
        return completion
