"""Chat: ``giga.chat``, ``giga.stream`` and ``giga.chat_parse`` call API v1; methods of ``giga.chat`` call API v2."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from gigaclient._core.call_arguments import check_names, prompt_of
from gigaclient._core.request_options import CALL_OPTIONS, RequestOptions, call_options
from gigaclient._core.responses import embedded_error, invalid_response, parse_response
from gigaclient.context import chat_url_cvar
from gigaclient.gigachat.attachments import CHAT_ARGUMENTS
from gigaclient.gigachat.chat_requests import MAX_CHAT_BYTES, ChatRequests
from gigaclient.gigachat.chat_tool_calls import ChatToolCalls
from gigaclient.gigachat.request_body import chat_body
from gigaclient.gigachat.resource import Resource
from gigaclient.gigachat.stream_events import ChunkParser
from gigaclient.protocols import Messages
from gigaclient.streaming.stream import ChatStream
from gigaclient.transport.request import EVENT_STREAM, Request, RetrySafety
from gigaclient.types import ChatCompletion

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time

    from gigaclient.gigachat.chat_requests import MessagesV2
    from gigaclient.gigachat.v2.stream import ChatResponseStream
    from gigaclient.types import ChatCompletionResponse
    from gigaclient.types.options import ChatOptions, ChatV2Options, ParseOptions, ParseV2Options

__all__ = ["ChatEndpoints", "ChatResource", "ResourceAttribute"]

T = TypeVar("T")
ResourceT = TypeVar("ResourceT", bound=Resource)

_PATH = "/chat/completions"
_PARSE_OPTIONS = ("strict", "repair")
_encode = msgspec.json.Encoder().encode


class ChatResource(ChatToolCalls):
    """``giga.chat``: calling it uses API v1; its methods use API v2.

    It has no state: write ``giga.chat`` wherever it is needed.
    """

    _client: ChatRequests

    def __call__(self, messages: Messages | None = None, **options: Unpack[ChatOptions]) -> ChatCompletion:
        """Send a chat request and return the whole response: ``POST /chat/completions`` of API v1.

        Args:
            messages: a string (one user message), a list of dicts or :class:`~gigaclient.types.Message`, or a whole
                request: a :class:`~gigaclient.types.Chat`, or a dict with ``"messages"``.
            options: ``attachments`` for the last message of the user: uploaded files, their ids, or a list of either;
                with ``upload=True`` also what ``upload_file`` takes, here and in messages. A client uploads the same
                content once. Also fields of the body (``model``, ``temperature``, ``max_tokens``, ``functions`` …; the
                fields of :class:`~gigaclient.types.Chat` and any that the API may add), and of the call: ``timeout``,
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

    def create(self, messages: MessagesV2 | None = None, **options: Unpack[ChatV2Options]) -> ChatCompletionResponse:
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

    def stream(self, messages: MessagesV2 | None = None, **options: Unpack[ChatV2Options]) -> ChatResponseStream:
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
        messages: MessagesV2 | None = None,
        *,
        response_format: type[T],
        strict: bool = True,
        repair: bool = True,
        **options: Unpack[ParseV2Options],
    ) -> tuple[ChatCompletionResponse, T]: ...

    @overload
    def parse(
        self,
        messages: MessagesV2 | None = None,
        *,
        response_format: Any,
        strict: bool = True,
        repair: bool = True,
        **options: Unpack[ParseV2Options],
    ) -> tuple[ChatCompletionResponse, Any]: ...

    def parse(
        self,
        messages: MessagesV2 | None = None,
        *,
        response_format: Any,
        strict: bool = True,
        repair: bool = True,
        **options: Unpack[ParseV2Options],
    ) -> tuple[ChatCompletionResponse, Any]:
        """Return a value of a type: :meth:`create` with the type's JSON Schema, then decode the response's JSON.

        Args:
            messages: as for :meth:`create`.
            response_format: the type: a dataclass, a ``TypedDict``, a ``msgspec.Struct``, an attrs class, a pydantic
                model, or a type built of those. A dict is a JSON Schema; then the value is the decoded JSON.
            strict: whether the service forbids everything that the schema does not name.
            repair: mend an answer whose JSON is not valid or has text around it; see
                `untidy.md` in the documentation. ``.repaired`` of the response says what was mended.
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
        from gigaclient.gigachat.v2.request_body import CHAT_V2_FIELDS
        from gigaclient.schema.json_schema import schema_of
        from gigaclient.schema.parse import parse_completion

        check_names(options, CHAT_V2_FIELDS | {"payload"}, _PARSE_OPTIONS)
        format_ = {"type": "json_schema", "schema": schema_of(response_format), "strict": strict}
        arguments: Any = options
        arguments["response_format"] = format_
        completion = self.create(messages, **arguments)
        return completion, parse_completion(completion, response_format, repair=repair)

    def __repr__(self) -> str:
        return f"<chat of {self._client!r}>"


class ResourceAttribute(Generic[ResourceT]):
    """An attribute whose value is a resource of the client, the same object each time while it is in use.

    Not a property: it can be replaced on an instance, by assignment, ``mock.patch.object`` or ``monkeypatch.setattr``.
    The class has the resource's class as this attribute, with its docstring and signatures.

    Args:
        load: returns the class of the resource.
    """

    def __init__(self, load: Callable[[], type[ResourceT]]) -> None:
        self._load = load

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._key = f"_resource_{name}"

    @overload
    def __get__(self, client: None, owner: type[Any]) -> type[ResourceT]: ...

    @overload
    def __get__(self, client: object, owner: type[Any]) -> ResourceT: ...

    def __get__(self, client: Any, owner: type[Any]) -> Any:
        if client is None:
            return self._load()
        reference = vars(client).get(self._key)
        resource = None if reference is None else reference()
        if resource is None:
            resource = object.__new__(self._load())
            vars(resource)["_client"] = client
            vars(client)[self._key] = weakref.ref(resource)
        return resource


class ChatEndpoints(ChatRequests):
    """``/chat/completions``."""

    _body_fields = CHAT_ARGUMENTS

    def _chat_request(self, messages: Messages | None, options: Any, *, stream: bool) -> tuple[Request, RequestOptions]:
        if self._closed or self._executor.transport.closed:
            self._check_open()
        settings = self._settings
        request_options = call_options(options, self._executor.timeouts, settings.session_id)
        path = chat_url_cvar.get()
        if path != _PATH:
            path = self._resolve_path("chat_url_cvar", path)
        encoded = None
        if messages.__class__ is not str or not options.keys() <= CALL_OPTIONS:
            messages = prompt_of(messages, options, CHAT_ARGUMENTS)
        else:
            # A short path for the most frequent call, a prompt without body fields: only the text may be invalid.
            body = {"messages": [{"role": "user", "content": messages}], **settings.body_defaults}
            if stream:
                body["stream"] = True
            with contextlib.suppress(UnicodeEncodeError):
                encoded = _encode(body)
        if encoded is None:
            messages, options = self._with_attachments(messages, options)
            encoded = chat_body(messages, options, settings.body_defaults, stream=stream)
        request = Request(
            "POST",
            path,
            body=encoded,
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

    if TYPE_CHECKING:
        chat: ChatResource  # a descriptor would not match the method of ChatProvider
    else:
        chat = ResourceAttribute(lambda: ChatResource)
    """``giga.chat(messages)`` calls API v1 and returns the whole response; its methods call API v2."""

    def stream(self, messages: Messages | None = None, **options: Unpack[ChatOptions]) -> ChatStream:
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
        self,
        messages: Messages | None = None,
        *,
        response_format: type[T],
        strict: bool = True,
        repair: bool = True,
        **options: Unpack[ParseOptions],
    ) -> tuple[ChatCompletion, T]: ...

    @overload
    def chat_parse(
        self,
        messages: Messages | None = None,
        *,
        response_format: Any,
        strict: bool = True,
        repair: bool = True,
        **options: Unpack[ParseOptions],
    ) -> tuple[ChatCompletion, Any]: ...

    def chat_parse(
        self,
        messages: Messages | None = None,
        *,
        response_format: Any,
        strict: bool = True,
        repair: bool = True,
        **options: Unpack[ParseOptions],
    ) -> tuple[ChatCompletion, Any]:
        """Return a value of a type: ``POST /chat/completions`` with the type's JSON Schema.

        Args:
            messages: as for ``giga.chat``.
            response_format: the type: a dataclass, a TypedDict, a ``msgspec.Struct``, an attrs class, a pydantic model,
                a type built of those, ``Literal[…]``, an ``Enum`` or a builtin. A dict is a JSON Schema; then the
                value is the decoded JSON.
            strict: whether the service forbids everything that the schema does not name.
            repair: mend an answer whose JSON is not valid or has text around it; see
                `untidy.md` in the documentation. ``.repaired`` of the response says what was mended.
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

        check_names(options, CHAT_ARGUMENTS | {"payload"}, _PARSE_OPTIONS)
        format_ = {"type": "json_schema", "schema": type_schema_of(response_format).schema, "strict": bool(strict)}
        arguments: Any = options
        arguments["response_format"] = format_
        completion = self._completion(*self._chat_request(messages, arguments, stream=False))
        return completion, parse_completion(completion, response_format, repair=repair)
