"""Chat: ``giga.chat`` and ``giga.stream`` ask API v1; the methods of ``giga.chat`` ask API v2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from gigaclient._core.request_options import RequestOptions, call_options
from gigaclient.context import chat_completions_url_cvar, chat_url_cvar
from gigaclient.errors import ConfigError
from gigaclient.gigachat.request_body import chat_body
from gigaclient.gigachat.resource import APIResource, names_a_version, parse_response
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.protocols import Messages
from gigaclient.streaming.stream import ChatStream
from gigaclient.transport import origin_of
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types import ChatCompletion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gigaclient.functions import AnyFunction
    from gigaclient.gigachat.tool_loop import OnError, RunStream
    from gigaclient.gigachat.v2.stream import ChatResponseStream
    from gigaclient.types import (
        ChatCompletionRequest,
        ChatCompletionResponse,
        ChatCompletionResponseChunk,
        ChatMessage,
        ChatUsage,
        Message,
        Run,
        Step,
    )

    MessagesV2 = Messages | Iterable[ChatMessage | Message | Mapping[str, Any]] | ChatMessage | ChatCompletionRequest

__all__ = ["ChatEndpoints", "ChatResource"]

T = TypeVar("T")

# Far above any answer there is: small JSON objects grow thirtyfold when they are decoded.
MAX_CHAT_BYTES = 16 * 1024 * 1024


class ChatEndpoints(APIResource):
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
            :class:`~gigaclient.streaming.stream.ChatStream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as ``giga.chat``.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
        """
        return self._open_stream(*self._chat_request(messages, options, stream=True))

    def _chat_request(
        self, messages: Messages, options: dict[str, Any], *, stream: bool
    ) -> tuple[Request, RequestOptions]:
        self._check_open()
        settings = self._settings
        request_options = call_options(options, self._core.timeouts, settings.session_id)
        request = Request(
            "POST",
            self._chat_path(),
            body=chat_body(messages, options, settings.body_defaults, stream=stream),
            accept="text/event-stream" if stream else "application/json",
            retry_safety=RetrySafety.BILLABLE,
        )
        return request, request_options

    def _chat_path(self) -> str:
        return self._path_of("chat_url_cvar", chat_url_cvar.get())

    def _path_of(self, variable: str, path: str) -> str:
        if "://" in path:
            return path
        if not path.startswith("/"):
            raise ConfigError(f"{variable} must be an address or begin with a slash, not {path!r}")
        return origin_of(self._settings.base_url) + path if names_a_version(path) else path

    def _v2_request(
        self, messages: MessagesV2, options: dict[str, Any], *, stream: bool
    ) -> tuple[Request, RequestOptions]:
        from gigaclient.gigachat.v2.request_body import chat_v2_body

        self._check_open()
        settings = self._settings
        request_options = call_options(options, self._core.timeouts, settings.session_id)
        path = chat_completions_url_cvar.get()
        request = Request(
            "POST",
            settings.chat_v2_url if path is None else self._path_of("chat_completions_url_cvar", path),
            body=chat_v2_body(messages, options, settings.body_defaults, stream=stream),
            accept="text/event-stream" if stream else "application/json",
            retry_safety=RetrySafety.BILLABLE,
        )
        return request, request_options

    # The rooms of API v2 are loaded when it is first asked: most programs never do.

    def _open_response(self, request: Request, request_options: RequestOptions) -> ChatResponseStream:
        from gigaclient.gigachat.v2.stream import ChatResponseStream

        response, request_id = self._send_stream(request, request_options)
        return ChatResponseStream(response, request_id=request_id)

    def _response(self, request: Request, request_options: RequestOptions) -> ChatCompletionResponse:
        from gigaclient.gigachat.v2.stream_events import failure_in
        from gigaclient.types.chat_v2 import ChatCompletionResponse

        answered = self._send_with_options(request, request_options, limit=MAX_CHAT_BYTES)
        answer = parse_response(answered, ChatCompletionResponse)
        failure = failure_in(answer)
        if failure is not None:
            raise failure
        if not answer.messages:
            raise answered.refusal() or answered.invalid("it has no messages")
        return answer

    def _open_stream(self, request: Request, request_options: RequestOptions) -> ChatStream:
        response, request_id = self._send_stream(request, request_options)
        return ChatStream(response, ChunkParser(request_id), request_id=request_id)

    def _completion(self, request: Request, request_options: RequestOptions) -> ChatCompletion:
        answered = self._send_with_options(request, request_options, limit=MAX_CHAT_BYTES)
        completion = parse_response(answered, ChatCompletion)
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
        return client._completion(*client._chat_request(messages, options, stream=False))

    def create(self, messages: MessagesV2, **options: Any) -> ChatCompletionResponse:
        """Ask, and wait for the whole answer: ``POST /chat/completions`` of API v2.

        Args:
            messages: a string (one user message), a list of dicts or :class:`~gigaclient.types.ChatMessage`, or a whole
                request: a :class:`~gigaclient.types.ChatCompletionRequest`, or a dict with ``"messages"``. Messages of
                API v1 are translated. A function's result gets its call's name and ids where it lacks them.
            options: fields of the body: those of :class:`~gigaclient.types.ChatCompletionRequest` and of
                :class:`~gigaclient.types.ChatModelOptions` (``temperature=0.4`` goes into ``model_options``), and any
                that the API may add. ``tools`` may name the service's (``["web_search"]``), ``functions`` lists
                descriptions of one's own, ``tool_config`` may be ``"auto"``, ``"none"``, ``"any"`` or a name. And
                options of the call, as for ``giga.chat``.

        Returns:
            The answer; ``.text`` is what the model said, ``.message`` what the next turn's history takes,
            ``.function_calls`` what it wants called, ``.files`` what it made, ``.sources`` what it read.

        Raises:
            ConfigError: the request cannot be sent as it is.
            APIStatusError: the server refused it, or ended the answer as failed; the class tells how.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            InvalidResponseError: an answer came that is not one.

        Repeated after 429 and 5xx and when surely not sent, ``max_retries`` times. Source:
        https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api
        """
        client = self._client
        return client._response(*client._v2_request(messages, options, stream=False))

    def stream(self, messages: MessagesV2, **options: Any) -> ChatResponseStream:
        """Ask, and get the answer as it comes: ``POST /chat/completions`` of API v2 with ``stream``.

        Args:
            messages: as for :meth:`create`.
            options: as for :meth:`create`, and ``update_interval`` (seconds between events) and ``event_timeout``.

        Returns:
            The stream. The request has been sent and its status checked; what can go wrong later is told by
            :class:`~gigaclient.gigachat.v2.stream.ChatResponseStream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as :meth:`create`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming
        """
        client = self._client
        return client._open_response(*client._v2_request(messages, options, stream=True))

    @overload
    def parse(
        self, messages: MessagesV2, *, response_format: type[T], strict: bool = True, **options: Any
    ) -> tuple[ChatCompletionResponse, T]: ...

    @overload
    def parse(
        self, messages: MessagesV2, *, response_format: Any, strict: bool = True, **options: Any
    ) -> tuple[ChatCompletionResponse, Any]: ...

    def parse(
        self, messages: MessagesV2, *, response_format: Any, strict: bool = True, **options: Any
    ) -> tuple[ChatCompletionResponse, Any]:
        """Ask for a value of a type: :meth:`create` with the type's JSON Schema, and the answer's JSON read as it.

        Args:
            messages: as for :meth:`create`.
            response_format: the type: a dataclass, a ``TypedDict``, a ``msgspec.Struct``, an attrs class, a pydantic
                model, or what is built of those; a dict is a JSON Schema, and the value the decoded JSON.
            strict: have the service forbid what the schema does not name.
            options: as for :meth:`create`.

        Returns:
            The answer and the value.

        Raises:
            ConfigError: the type cannot be described, or as :meth:`create`.
            LengthFinishReasonError: the answer was cut by the token limit; ``.completion`` holds it.
            InvalidResponseError: the answer is not JSON, or no such value; ``.completion`` and ``.text`` hold it.
            APIStatusError, APIConnectionError: as :meth:`create`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/structured-output
        """
        from gigaclient.schema.json_schema import schema_of
        from gigaclient.schema.parse import value_of

        form = {"type": "json_schema", "schema": schema_of(response_format), "strict": strict}
        answer = self.create(messages, response_format=form, **options)
        return answer, value_of(answer, response_format)

    def run(
        self,
        messages: MessagesV2,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        result_role: str = "tool",
        result_as_text: bool = False,
        **options: Any,
    ) -> Run[ChatCompletionResponse, ChatUsage]:
        """Ask, run the functions that the model wants called, tell it the results, and so on until it answers:
        ``POST /chat/completions`` of API v2 for each turn.

        Args:
            messages: as for :meth:`create`.
            functions, max_steps, on_error, on_step: as for ``giga.run``. Of several calls in one answer, each is a step
                and all of them are one turn; they run one after the other.
            result_role: the role of messages with results: ``"tool"``, or ``"function"`` for a server that wants it so.
            result_as_text: send results as strings of JSON, for a server that wants them so.
            options: as for :meth:`create`, for each of the requests. A ``tool_config`` that forces a call does so in
                the first turn alone. Unless a session is named, the turns share one.

        Returns:
            The run: ``.text`` of the last answer, ``.completion``, ``.messages`` to go on with, ``.steps``, ``.usage``.

        Raises:
            TooManyStepsError, InvalidResponseError, ConfigError, APIStatusError, APIConnectionError: as ``giga.run``.
            Exception: with ``on_error="raise"``, whatever a function raises.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        from gigaclient.gigachat import tool_loop as running
        from gigaclient.gigachat.v2.tool_loop import V2

        return running.run(
            V2(self, result_role, result_as_text),
            messages,
            functions,
            max_steps=max_steps,
            on_error=on_error,
            on_step=on_step,
            options=running.with_session(self._client, options),
        )

    def run_stream(
        self,
        messages: MessagesV2,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        result_role: str = "tool",
        result_as_text: bool = False,
        **options: Any,
    ) -> RunStream[ChatCompletionResponseChunk, ChatCompletionResponse, ChatUsage]:
        """The same as :meth:`run`, as it goes: ``POST /chat/completions`` of API v2 with ``stream`` for each turn.

        Args:
            messages, functions, max_steps, on_error, on_step, result_role, result_as_text, options: as for :meth:`run`.

        Returns:
            An iterator and context manager of events: chunks of the answers, and a
            :class:`~gigaclient.types.Step` for each function that has run. Each event has a ``.text``. The first
            request has been sent and its status checked. ``.result()`` reads the rest and returns the run.

        Raises:
            ConfigError, APIStatusError, APIConnectionError: the first request; what can go wrong later is told by
                :class:`~gigaclient.gigachat.tool_loop.RunStream`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        from gigaclient.gigachat import tool_loop as running
        from gigaclient.gigachat.v2.tool_loop import V2

        return running.RunStream(
            V2(self, result_role, result_as_text),
            messages,
            functions,
            max_steps=max_steps,
            on_error=on_error,
            on_step=on_step,
            options=running.with_session(self._client, options),
        )

    def __repr__(self) -> str:
        return f"<chat of {self._client!r}>"
