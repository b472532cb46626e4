"""Chat: ``giga.chat``, ``giga.stream`` and ``giga.chat_parse`` call API v1; methods of ``giga.chat`` call API v2."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from gigaclient._core.request_options import CALL_OPTIONS, RequestOptions, call_options
from gigaclient._core.responses import embedded_error, invalid_response, parse_response
from gigaclient.context import chat_url_cvar
from gigaclient.gigachat.chat_requests import MAX_CHAT_BYTES, ChatRequests
from gigaclient.gigachat.request_body import chat_body
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.protocols import Messages
from gigaclient.streaming.stream import ChatStream
from gigaclient.transport.request import EVENT_STREAM, Request, RetrySafety
from gigaclient.types import ChatCompletion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gigaclient.functions import AnyFunction
    from gigaclient.gigachat.chat_requests import MessagesV2
    from gigaclient.gigachat.tool_loop import OnError, RunStream, ToolLoop
    from gigaclient.gigachat.v2.stream import ChatResponseStream
    from gigaclient.types import ChatCompletionResponse, ChatCompletionResponseChunk, ChatUsage, Run, Step

__all__ = ["ChatEndpoints", "ChatResource"]

T = TypeVar("T")

_PATH = "/chat/completions"
_encode = msgspec.json.Encoder().encode


class ChatResource:
    """``giga.chat``: calling it uses API v1; its methods use API v2.

    It has no state: write ``giga.chat`` wherever it is needed.
    """

    __slots__ = ("_client",)

    def __init__(self, client: ChatRequests) -> None:
        self._client = client

    def __call__(self, messages: Messages, **options: Any) -> ChatCompletion:
        """Send a chat request and return the whole response: ``POST /chat/completions`` of API v1.

        Args:
            messages: a string (one user message), a list of dicts or :class:`~gigaclient.types.Message`, or a whole
                request: a :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``.
            options: fields of the body (``model``, ``temperature``, ``max_tokens``, ``functions`` …; the fields of
                :class:`~gigaclient.types.Chat` and any that the API may add), and of the call: ``timeout``,
                ``deadline``, ``max_retries``, ``headers``, ``request_id``, ``session_id``, ``client_id``,
                ``service_id``, ``operation_id``, ``trace_id``, ``agent_id``, ``authorization``.

        Returns:
            The response; ``.text`` is the model's text, ``.usage`` the token usage.

        Raises:
            ConfigError: the request cannot work.
            APIStatusError: the server refused the request; the class says why.
            APIConnectionError, APITimeoutError, TLSError: no response arrived.
            InvalidResponseError: the response is not a valid one.

        Retried after 429 and 5xx and when certainly not sent, up to ``max_retries`` times. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-chat
        """
        client = self._client
        return client._completion(*client._chat_request(messages, options, stream=False))

    def create(self, messages: MessagesV2, **options: Any) -> ChatCompletionResponse:
        """Send a chat request and return the whole response: ``POST /chat/completions`` of API v2.

        Args:
            messages: a string (one user message), a list of dicts or :class:`~gigaclient.types.ChatMessage`, or a whole
                request: a :class:`~gigaclient.types.ChatCompletionRequest`, or a dict with ``"messages"``. Messages of
                API v1 are translated. A function's result gets the name and ids of its call where they are missing.
            options: fields of the body: those of :class:`~gigaclient.types.ChatCompletionRequest` and of
                :class:`~gigaclient.types.ChatModelOptions` (``temperature=0.4`` goes into ``model_options``), and any
                that the API may add. ``tools`` may name the service's tools (``["web_search"]``), ``functions`` lists
                function descriptions, ``tool_config`` may be ``"auto"``, ``"none"``, ``"any"`` or a name. Also the
                options of the call, as for ``giga.chat``.

        Returns:
            The response; ``.text`` is the model's text, ``.message`` the message for the next turn's history,
            ``.function_calls`` the requested calls, ``.files`` the created files, ``.sources`` the used sources.

        Raises:
            ConfigError: the request cannot work.
            APIStatusError: the server refused the request, or ended the response as failed; the class says why.
            APIConnectionError, APITimeoutError, TLSError: no response arrived.
            InvalidResponseError: the response is not a valid one.

        Retried after 429 and 5xx and when certainly not sent, up to ``max_retries`` times. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api
        """
        client = self._client
        return client._v2_completion(*client._chat_v2_request(messages, options, stream=False))

    def stream(self, messages: MessagesV2, **options: Any) -> ChatResponseStream:
        """Send a chat request and stream the response: ``POST /chat/completions`` of API v2 with ``stream``.

        Args:
            messages: as for :meth:`create`.
            options: as for :meth:`create`, and ``update_interval`` (seconds between events) and ``event_timeout``.

        Returns:
            The stream. The request is sent and its status checked; for later errors see
            :class:`~gigaclient.gigachat.v2.stream.ChatResponseStream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as :meth:`create`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
        """
        client = self._client
        return client._open_v2_stream(*client._chat_v2_request(messages, options, stream=True))

    @overload
    def parse(
        self,
        messages: MessagesV2,
        *,
        response_format: type[T],
        strict: bool = True,
        repair: bool = True,
        **options: Any,
    ) -> tuple[ChatCompletionResponse, T]: ...

    @overload
    def parse(
        self, messages: MessagesV2, *, response_format: Any, strict: bool = True, repair: bool = True, **options: Any
    ) -> tuple[ChatCompletionResponse, Any]: ...

    def parse(
        self, messages: MessagesV2, *, response_format: Any, strict: bool = True, repair: bool = True, **options: Any
    ) -> tuple[ChatCompletionResponse, Any]:
        """Return a value of a type: :meth:`create` with the type's JSON Schema, then decode the response's JSON.

        Args:
            messages: as for :meth:`create`.
            response_format: the type: a dataclass, a ``TypedDict``, a ``msgspec.Struct``, an attrs class, a pydantic
                model, or a type built of those. A dict is a JSON Schema; then the value is the decoded JSON.
            strict: whether the service forbids everything that the schema does not name.
            repair: mend an answer whose JSON is not valid or has text around it; see
                :func:`~gigaclient.schema.parse.parse_completion`. ``.repaired`` of the response says what was mended.
            options: as for :meth:`create`.

        Returns:
            The response and the value.

        Raises:
            ConfigError: the type cannot be described, or as :meth:`create`.
            LengthFinishReasonError: the response was cut by the token limit; ``.completion`` holds it.
            ContentFilterError: the filter blocked the response; ``.completion`` and ``.text`` hold it.
            InvalidResponseError: the response is not JSON, or not such a value; ``.completion`` and ``.text`` hold it.
            APIStatusError, APIConnectionError: as :meth:`create`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/structured-output
        """
        from gigaclient.schema.json_schema import schema_of
        from gigaclient.schema.parse import parse_completion

        format_ = {"type": "json_schema", "schema": schema_of(response_format), "strict": strict}
        completion = self.create(messages, response_format=format_, **options)
        return completion, parse_completion(completion, response_format, repair=repair)

    def run(
        self,
        messages: MessagesV2,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        on_result: Callable[[Any], Any] | None = None,
        repair: bool = True,
        result_role: str = "tool",
        result_as_text: bool = False,
        **options: Any,
    ) -> Run[ChatCompletionResponse, ChatUsage]:
        """Run a dialogue with Python functions until the model answers, with ``POST /chat/completions`` of API v2.

        Args:
            messages: as for :meth:`create`.
            functions: as for ``giga.run``. Several calls in one response are several steps of one turn; they run one
                after the other.
            max_steps: as for ``giga.run``.
            on_error: as for ``giga.run``.
            on_step: as for ``giga.run``.
            on_result: as for ``giga.run``.
            repair: as for ``giga.run``.
            result_role: the role of messages with results: ``"tool"``, or ``"function"`` for servers that require it.
            result_as_text: send results as strings of JSON, for servers that require it.
            options: as for :meth:`create`, for each of the requests. A ``tool_config`` that forces a call is sent in
                the first turn only. Unless a session is named, the turns share a new one.

        Returns:
            The run: ``.text`` of the last response, ``.completion``, ``.messages`` to continue with, ``.steps``,
            ``.usage``.

        Raises:
            TooManyStepsError, InvalidResponseError, ConfigError, APIStatusError, APIConnectionError: as ``giga.run``.
            Exception: with ``on_error="raise"``, any exception of a function.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        return self._tool_loop(
            messages, functions, max_steps, on_error, on_step, on_result, repair, result_role, result_as_text, options
        ).run()

    def run_stream(
        self,
        messages: MessagesV2,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        on_result: Callable[[Any], Any] | None = None,
        repair: bool = True,
        result_role: str = "tool",
        result_as_text: bool = False,
        **options: Any,
    ) -> RunStream[ChatCompletionResponseChunk, ChatCompletionResponse, ChatUsage]:
        """Run a dialogue with Python functions as a stream. The arguments are those of :meth:`run`.

        Returns:
            An iterator and context manager of events: chunks of the responses, and a
            :class:`~gigaclient.types.Step` for each function that has run. Each event has a ``.text``. The first
            request is sent and its status checked. ``.result()`` reads the rest and returns the run.

        Raises:
            ConfigError, APIStatusError, APIConnectionError: as the first request; for later errors see
                :class:`~gigaclient.gigachat.tool_loop.RunStream`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        from gigaclient.gigachat.tool_loop import RunStream

        return RunStream(
            self._tool_loop(
                messages,
                functions,
                max_steps,
                on_error,
                on_step,
                on_result,
                repair,
                result_role,
                result_as_text,
                options,
            )
        )

    def _tool_loop(
        self,
        messages: MessagesV2,
        functions: Iterable[AnyFunction],
        max_steps: int,
        on_error: OnError,
        on_step: Callable[[Step], object] | None,
        on_result: Callable[[Any], Any] | None,
        repair: bool,
        result_role: str,
        result_as_text: bool,
        options: dict[str, Any],
    ) -> ToolLoop[ChatCompletionResponseChunk, ChatCompletionResponse, ChatUsage]:
        from gigaclient.gigachat.tool_loop import ToolLoop
        from gigaclient.gigachat.v2.tool_dialect import V2

        dialect = V2(self._client, result_role, result_as_text)
        return ToolLoop(
            dialect,
            messages,
            functions,
            max_steps=max_steps,
            on_error=on_error,
            on_step=on_step,
            options=options,
            on_result=on_result,
            repair=repair,
        )

    def __repr__(self) -> str:
        return f"<chat of {self._client!r}>"


class ChatEndpoints(ChatRequests):
    """``/chat/completions``."""

    def _chat_request(
        self, messages: Messages, options: dict[str, Any], *, stream: bool
    ) -> tuple[Request, RequestOptions]:
        if self._closed or self._executor.transport.closed:
            self._check_open()
        settings = self._settings
        request_options = call_options(options, self._executor.timeouts, settings.session_id)
        path = chat_url_cvar.get()
        if path != _PATH:
            path = self._resolve_path("chat_url_cvar", path)
        encoded = None
        if messages.__class__ is str and options.keys() <= CALL_OPTIONS:
            # A short path for the most frequent call, a prompt without body fields: only the text may be invalid.
            body = {"messages": [{"role": "user", "content": messages}], **settings.body_defaults}
            if stream:
                body["stream"] = True
            with contextlib.suppress(UnicodeEncodeError):
                encoded = _encode(body)
        request = Request(
            "POST",
            path,
            body=encoded or chat_body(messages, options, settings.body_defaults, stream=stream),
            accept=EVENT_STREAM if stream else "application/json",
            retry_safety=RetrySafety.BILLABLE,
        )
        return request, request_options

    def _completion(self, request: Request, request_options: RequestOptions) -> ChatCompletion:
        response = self._executor.fetch(request, request_options, limit=MAX_CHAT_BYTES)
        completion = parse_response(response, ChatCompletion)
        if not completion.choices:
            raise embedded_error(response) or invalid_response(response, "it has no choices")
        return completion

    def _open_stream(self, request: Request, request_options: RequestOptions) -> ChatStream:
        response = self._executor.open(request, request_options)
        if response.media_type != EVENT_STREAM:
            self._check_event_stream(response)
        return ChatStream(response, ChunkParser(response.request_id), request_id=response.request_id)

    @property
    def chat(self) -> ChatResource:
        """``giga.chat(messages)`` calls API v1 and returns the whole response; its methods call API v2."""
        return ChatResource(self)

    def stream(self, messages: Messages, **options: Any) -> ChatStream:
        """Send a chat request and stream the response: ``POST /chat/completions`` with ``stream``.

        Args:
            messages: as for ``giga.chat``.
            options: as for ``giga.chat``, and ``update_interval`` (seconds between chunks) and ``event_timeout``.

        Returns:
            The stream. The request is sent and its status checked; for later errors see
            :class:`~gigaclient.streaming.stream.ChatStream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as ``giga.chat``.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
        """
        return self._open_stream(*self._chat_request(messages, options, stream=True))

    @overload
    def chat_parse(
        self, messages: Messages, *, response_format: type[T], strict: bool = True, repair: bool = True, **options: Any
    ) -> tuple[ChatCompletion, T]: ...

    @overload
    def chat_parse(
        self, messages: Messages, *, response_format: Any, strict: bool = True, repair: bool = True, **options: Any
    ) -> tuple[ChatCompletion, Any]: ...

    def chat_parse(
        self, messages: Messages, *, response_format: Any, strict: bool = True, repair: bool = True, **options: Any
    ) -> tuple[ChatCompletion, Any]:
        """Return a value of a type: ``POST /chat/completions`` with the type's JSON Schema.

        Args:
            messages: as for ``giga.chat``.
            response_format: the type: a dataclass, a TypedDict, a ``msgspec.Struct``, an attrs class, a pydantic model,
                a type built of those, ``Literal[…]``, an ``Enum`` or a builtin. A dict is a JSON Schema; then the
                value is the decoded JSON.
            strict: whether the service forbids everything that the schema does not name.
            repair: mend an answer whose JSON is not valid or has text around it; see
                :func:`~gigaclient.schema.parse.parse_completion`. ``.repaired`` of the response says what was mended.
            options: as for ``giga.chat``.

        Returns:
            The response and the value.

        Raises:
            LengthFinishReasonError: the response was cut by the token limit; ``.completion`` holds it.
            ContentFilterError: the filter blocked the response; ``.completion`` and ``.text`` hold it.
            InvalidResponseError: the response is not JSON, or the JSON does not fit; the message names the path, and
                ``.completion`` and ``.text`` hold the response.
            ConfigError: the type cannot be described; the message says what to do.
            APIStatusError, APIConnectionError: as ``giga.chat``.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/structured-output
        """
        from gigaclient.schema.json_schema import type_schema_of
        from gigaclient.schema.parse import parse_completion

        format_ = {"type": "json_schema", "schema": type_schema_of(response_format).schema, "strict": bool(strict)}
        options["response_format"] = format_
        completion = self._completion(*self._chat_request(messages, options, stream=False))
        return completion, parse_completion(completion, response_format, repair=repair)
