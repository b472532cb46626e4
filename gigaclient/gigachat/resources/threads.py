"""Threads: dialogues that the server stores, and the runs that answer them.

Stand-dependent, not in the public OpenAPI: the official SDK is the source.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import msgspec

from gigaclient import types
from gigaclient._core.messages import as_messages, encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._core.responses import BufferedResponse
from gigaclient._core.settings import CallSettings
from gigaclient._core.settings import whole as whole_number
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError, NotFoundError
from gigaclient.gigachat.resource import APIResource, parse_response
from gigaclient.gigachat.resources._validation import advising, checked_text, checked_texts
from gigaclient.gigachat.thread_stream import ThreadEventParser, ThreadStream
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types import APIResponse

if TYPE_CHECKING:
    from gigaclient._core.settings import Unpack

__all__ = ["RunSettings", "ThreadsResource"]

_ResponseT = TypeVar("_ResponseT", bound=APIResponse)

_NOT_FOUND_ADVICE = "threads.list() shows those there are, if this server has threads at all"

# A string is a message of the user.
MessageLike = types.Message | str | Mapping[str, Any]


class RunSettings(CallSettings, total=False):
    """Options of a run: the fields of :class:`~gigaclient.types.ThreadRunOptions` and the call options."""

    temperature: float | None
    top_p: float | None
    limit: int | None
    max_tokens: int | None
    repetition_penalty: float | None
    profanity_check: bool | None
    flags: Sequence[str] | None
    function_call: types.NamedFunctionCall | Mapping[str, Any] | str | None
    functions: Sequence[types.Function | Mapping[str, Any]] | None


_RUN_OPTIONS = frozenset(RunSettings.__annotations__) - CALL_OPTIONS


class ThreadsResource:
    """``giga.threads``. Stand-dependent, not in the public OpenAPI.

    It has no state: read ``giga.threads`` wherever it is needed.
    """

    __slots__ = ("_client",)

    def __init__(self, client: APIResource) -> None:
        self._client = client

    # -- threads ---------------------------------------------------------------------------------------------------

    def get_threads(
        self,
        assistants_ids: Iterable[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
        **options: Unpack[CallSettings],
    ) -> types.Threads:
        """List threads: ``GET /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistants_ids: ids of assistants; only their threads are returned.
            limit: the maximum number of results.
            before: Unix time in seconds; only older ones are returned.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The threads in the server's order, as ``.threads``.

        Raises:
            ConfigError: an argument is invalid. Nothing was sent.
            NotFoundError: this server does not support threads.
            APIStatusError: the server rejected the request.
            APIConnectionError, APITimeoutError, TLSError: there was no response.
            InvalidResponseError: the response is not what the API promises.

        Source: https://github.com/ai-forever/gigachat
        """
        query: list[tuple[str, str]] = []
        if assistants_ids is not None:
            query += [("assistants_ids", assistant_id) for assistant_id in _ids(assistants_ids, "assistants_ids")]
        path = _path("/threads", query, limit, before)
        return self._request(Request("GET", path), types.Threads, options)

    def list(
        self,
        assistants_ids: Iterable[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
        **options: Unpack[CallSettings],
    ) -> types.Threads:
        """List threads, as :meth:`get_threads`: ``GET /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistants_ids: as for :meth:`get_threads`.
            limit: as for :meth:`get_threads`.
            before: as for :meth:`get_threads`.
            options: as for :meth:`get_threads`.

        Returns:
            The threads, as ``.threads``.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        return self.get_threads(assistants_ids, limit, before, **options)

    def create_thread(self, **options: Unpack[CallSettings]) -> str:
        """Create an empty thread: ``POST /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            options: call options, as for :meth:`get_threads`.

        Returns:
            Its id.

        Raises:
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        return self._request(
            Request("POST", "/threads", body=b"{}", retry_safety=RetrySafety.NON_IDEMPOTENT), types.Thread, options
        ).id

    def retrieve(self, threads_ids: str | Iterable[str], **options: Unpack[CallSettings]) -> types.Threads:
        """Return threads by their ids: ``POST /threads/retrieve``. Stand-dependent, not in the public OpenAPI.

        Args:
            threads_ids: one id or several.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The threads, as ``.threads``; ``.status`` and ``.run_lock`` show a run in progress.

        Raises:
            ConfigError: there are no ids. Nothing was sent.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        body = encode({"threads_ids": checked_texts(threads_ids, "threads_ids")})
        return self._request(Request("POST", "/threads/retrieve", body=body), types.Threads, options)

    def delete(self, thread_id: str, **options: Unpack[CallSettings]) -> bool:
        """Delete a thread: ``POST /threads/delete``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            options: call options, as for :meth:`get_threads`.

        Returns:
            True. The server reports no details.

        Raises:
            ConfigError: ``thread_id`` is not an id. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        # Not IDEMPOTENT: a repeated request would report that the thread does not exist.
        body = encode({"thread_id": _id(thread_id)})
        response = self._send(
            Request("POST", "/threads/delete", body=body, retry_safety=RetrySafety.NON_IDEMPOTENT), options
        )
        refusal = response.refusal()
        if refusal is not None:
            raise refusal
        return True

    # -- messages --------------------------------------------------------------------------------------------------

    def get_messages(
        self,
        thread_id: str,
        limit: int | None = None,
        before: int | None = None,
        **options: Unpack[CallSettings],
    ) -> types.ThreadMessages:
        """List the messages of a thread: ``GET /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            limit: the maximum number of results.
            before: Unix time in seconds; only older ones are returned.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The messages in the server's order, as ``.messages``.

        Raises:
            ConfigError: an argument is invalid. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        path = _path("/threads/messages", [("thread_id", _id(thread_id))], limit, before)
        return self._request(Request("GET", path), types.ThreadMessages, options)

    def add_message(
        self, thread_id: str, message: MessageLike, **options: Unpack[CallSettings]
    ) -> types.ThreadMessagesResponse:
        """Add a message to a thread: ``POST /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            message: a text (of the user), a dict or a :class:`~gigaclient.types.Message`.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The thread's id and the message's.

        Raises:
            ConfigError: it is not a message. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        return self.add_messages(_id(thread_id), [message], **options)

    def add_messages(
        self,
        thread_id: str | None = None,
        messages: MessageLike | Iterable[MessageLike] | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
        **options: Unpack[CallSettings],
    ) -> types.ThreadMessagesResponse:
        """Add messages to a thread: ``POST /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread; None creates one.
            messages: texts (of the user), dicts or :class:`~gigaclient.types.Message`, also mixed.
            assistant_id: the assistant that answers in a new thread.
            model: the model that answers; sent only without a thread and an assistant, which have their own.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The thread's id and those of the messages.

        Raises:
            ConfigError: there are no messages, or an item is not a message. Nothing was sent.
            NotFoundError: there is no such thread, or no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        body = {"messages": _messages(messages), **_target(thread_id, assistant_id, model)}
        request = Request("POST", "/threads/messages", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.ThreadMessagesResponse, options)

    # -- runs ------------------------------------------------------------------------------------------------------

    def run(
        self,
        thread_id: str,
        assistant_id: str | None = None,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        **settings: Unpack[RunSettings],
    ) -> types.ThreadRunResponse:
        """Start a run and do not wait for it: ``POST /threads/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            assistant_id: the assistant that answers.
            thread_options: how to answer; unknown fields are sent unchanged.
            options: the deprecated name of ``thread_options``.
            settings: fields that override ``thread_options`` (``temperature``, ``max_tokens`` …), and call options, as
                for :meth:`get_threads`.

        Returns:
            The run's ``.status``, at first ``in_progress``. :meth:`wait_for_run` waits for its end.

        Raises:
            ConfigError: an argument is invalid. Nothing was sent.
            NotFoundError: there is no such thread, or no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, call_options = _run_body(_renamed(thread_options, options), settings)
        body.update(_target(_id(thread_id), assistant_id, None))
        request = Request("POST", "/threads/run", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.ThreadRunResponse, call_options)

    def get_run(self, thread_id: str, **options: Unpack[CallSettings]) -> types.ThreadRunResult:
        """Return the state of a run: ``GET /threads/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            options: call options, as for :meth:`get_threads`.

        Returns:
            The run's ``.status``, and its ``.messages`` once there are any.

        Raises:
            ConfigError: ``thread_id`` is not an id. Nothing was sent.
            NotFoundError: there is no such thread, or it has no run.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        path = _path("/threads/run", [("thread_id", _id(thread_id))], None, None)
        return self._request(Request("GET", path), types.ThreadRunResult, options)

    def wait_for_run(
        self,
        thread_id: str,
        *,
        poll_interval: float = 1.0,
        timeout: float | None = None,
        **options: Any,
    ) -> types.ThreadRunResult:
        """Poll until a run ends: ``GET /threads/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            poll_interval: seconds before the second request. Each pause is 1.5 times the previous one, up to a minute
                (or to ``poll_interval``, if that is longer).
            timeout: seconds for the whole wait; None sets no limit.
            options: call options of each request: ``deadline``, ``max_retries``, ``headers`` …

        Returns:
            The run with status ``ready``, ``failed`` or ``deleted``; ``.text`` is the assistant's text.

        Raises:
            APITimeoutError: (a ``TimeoutError``) it did not end in time; ``.completion`` is the run as last seen. The
                run continues on the server: call this method again.
            APIConnectionError: another thread called ``close()``.
            NotFoundError: there is no such thread, or it has no run.
            ConfigError, APIStatusError, InvalidResponseError: as for :meth:`get_run`. Temporary failures (429, 5xx, a
                broken connection) are raised only after more than five in a row.

        An unknown status does not end the wait. Source: https://github.com/ai-forever/gigachat
        """
        from gigaclient.gigachat.polling import poll, shortened

        client = self._client
        thread_id = _id(thread_id)
        client._call_settings(options)
        final = (types.ThreadStatus.READY, types.ThreadStatus.FAILED, types.ThreadStatus.DELETED)

        def look(left: float) -> types.ThreadRunResult:
            return self.get_run(thread_id, **shortened(options, left, client._core.timeouts.deadline))

        def describe(seen: types.ThreadRunResult | None) -> str:
            return f"the run of thread {thread_id} is still {seen.status if seen is not None else 'not to be seen'}"

        return poll(
            client._core,
            look,
            lambda seen: seen.status in final,
            describe,
            poll_interval=poll_interval,
            timeout=timeout,
        )

    def run_stream(
        self,
        thread_id: str,
        assistant_id: str | None = None,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        **settings: Unpack[RunSettings],
    ) -> ThreadStream:
        """Start a run and stream it: ``POST /threads/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: as for :meth:`run`.
            assistant_id: as for :meth:`run`.
            thread_options: as for :meth:`run`.
            options: as for :meth:`run`.
            settings: as for :meth:`run`, and ``event_timeout``.

        Returns:
            The stream. The request has been sent and its status checked. Later errors are described in
            :class:`~gigaclient.streaming.stream.Stream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`run`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, call_options = _run_body(_renamed(thread_options, options), settings)
        body.update(_target(_id(thread_id), assistant_id, None))
        return self._stream("/threads/run", body, call_options, RetrySafety.NON_IDEMPOTENT)

    def run_messages(
        self,
        messages: MessageLike | Iterable[MessageLike],
        thread_id: str | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        **settings: Unpack[RunSettings],
    ) -> types.ThreadCompletion:
        """Add messages and run: ``POST /threads/messages/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            messages: texts (of the user), dicts or :class:`~gigaclient.types.Message`, also mixed.
            thread_id: the id of the thread; None creates one.
            assistant_id: the assistant that answers in a new thread.
            model: the model that answers, by default the client's; sent only without a thread and an assistant, which
                have their own.
            thread_options: how to answer; unknown fields are sent unchanged.
            settings: fields that override ``thread_options`` (``temperature``, ``max_tokens`` …), and call options, as
                for :meth:`get_threads`.

        Returns:
            The assistant's message: ``.text``, and the ``.thread_id`` to continue with.

        Raises:
            ConfigError: an argument is invalid. Nothing was sent.
            NotFoundError: there is no such thread, assistant or model.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, call_options = self._messages_body(messages, thread_id, assistant_id, model, thread_options, settings)
        request = Request("POST", "/threads/messages/run", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.ThreadCompletion, call_options)

    def rerun_messages(
        self,
        thread_id: str,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        **settings: Unpack[RunSettings],
    ) -> types.ThreadCompletion:
        """Regenerate the last message: ``POST /threads/messages/rerun``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: the id of the thread.
            thread_options: as for :meth:`run_messages`.
            settings: as for :meth:`run_messages`.

        Returns:
            The new message.

        Raises:
            ConfigError: an argument is invalid. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Retried after 429 and 5xx, and if certainly not sent, up to ``max_retries`` times. Source:
        https://github.com/ai-forever/gigachat
        """
        body, call_options = _run_body(thread_options, settings)
        body["thread_id"] = _id(thread_id)
        request = Request("POST", "/threads/messages/rerun", body=encode(body), retry_safety=RetrySafety.BILLABLE)
        return self._request(request, types.ThreadCompletion, call_options)

    def run_messages_stream(
        self,
        messages: MessageLike | Iterable[MessageLike],
        thread_id: str | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        update_interval: float | None = None,
        **settings: Unpack[RunSettings],
    ) -> ThreadStream:
        """Add messages and stream the run: ``POST /threads/messages/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            messages: as for :meth:`run_messages`.
            thread_id: as for :meth:`run_messages`.
            assistant_id: as for :meth:`run_messages`.
            model: as for :meth:`run_messages`.
            thread_options: as for :meth:`run_messages`.
            update_interval: the minimum number of seconds between chunks.
            settings: as for :meth:`run_messages`, and ``event_timeout``.

        Returns:
            The stream. The request has been sent and its status checked. Later errors are described in
            :class:`~gigaclient.streaming.stream.Stream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`run_messages`.

        Retried only if the server rejected it unprocessed or certainly did not receive it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, call_options = self._messages_body(messages, thread_id, assistant_id, model, thread_options, settings)
        if update_interval is not None:
            body["update_interval"] = update_interval
        return self._stream("/threads/messages/run", body, call_options, RetrySafety.NON_IDEMPOTENT)

    def rerun_messages_stream(
        self,
        thread_id: str,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        update_interval: float | None = None,
        **settings: Unpack[RunSettings],
    ) -> ThreadStream:
        """Regenerate the last message and stream it: ``POST /threads/messages/rerun``.

        Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: as for :meth:`rerun_messages`.
            thread_options: as for :meth:`rerun_messages`.
            update_interval: the minimum number of seconds between chunks.
            settings: as for :meth:`rerun_messages`, and ``event_timeout``.

        Returns:
            The stream. The request has been sent and its status checked. Later errors are described in
            :class:`~gigaclient.streaming.stream.Stream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`rerun_messages`.

        Retried as :meth:`rerun_messages`, until the first chunk. Source: https://github.com/ai-forever/gigachat
        """
        body, call_options = _run_body(thread_options, settings)
        body["thread_id"] = _id(thread_id)
        if update_interval is not None:
            body["update_interval"] = update_interval
        return self._stream("/threads/messages/rerun", body, call_options, RetrySafety.BILLABLE)

    def _request(self, request: Request, type_: type[_ResponseT], options: Mapping[str, Any]) -> _ResponseT:
        return parse_response(self._send(request, options), type_)

    def _send(self, request: Request, options: Mapping[str, Any]) -> BufferedResponse:
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
            response, request_id = self._client._send_stream(request, settings)
        return ThreadStream(response, ThreadEventParser(request_id), request_id=request_id)

    def _messages_body(
        self,
        messages: Any,
        thread_id: str | None,
        assistant_id: str | None,
        model: str | None,
        thread_options: Any,
        settings: Mapping[str, Any],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        body, call_options = _run_body(thread_options, settings)
        body.update(_target(thread_id, assistant_id, model if model is not None else self._client._settings.model))
        body["messages"] = _messages(messages)
        return body, call_options

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


def _id(thread_id: Any) -> str:
    return checked_text(thread_id, "thread_id", "id")


def _ids(ids: Any, name: str) -> Iterable[str]:
    return checked_texts(ids, name) if not isinstance(ids, (list, tuple)) or ids else ()


def _target(thread_id: str | None, assistant_id: str | None, model: str | None) -> dict[str, str]:
    """Return ``thread_id`` and ``assistant_id``; ``model`` only without them, because both have their own model."""
    target = {}
    if thread_id is not None:
        target["thread_id"] = _id(thread_id)
    if assistant_id is not None:
        target["assistant_id"] = checked_text(assistant_id, "assistant_id", "id")
    if not target and model is not None:
        target["model"] = checked_text(model, "model")
    return target


def _path(path: str, query: Sequence[tuple[str, str]], limit: int | None, before: int | None) -> str:
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


def _messages(messages: Any) -> Any:
    if isinstance(messages, (str, Mapping, types.Message)):
        messages = [messages]
    if messages is None:
        messages = []
    if isinstance(messages, Iterable) and not isinstance(messages, (bytes, bytearray, memoryview)):
        messages = [types.Message(role="user", content=item) if isinstance(item, str) else item for item in messages]
    return as_messages(messages)


def _renamed(thread_options: Any, options: Any) -> Any:
    if options is None:
        return thread_options
    warnings.warn("options= is deprecated: pass thread_options=", DeprecationWarning, stacklevel=3)
    return options if thread_options is None else thread_options


def _run_body(thread_options: Any, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split settings into the body fields of a run and the call options."""
    body: dict[str, Any] = {}
    if isinstance(thread_options, msgspec.Struct):
        body = fields_of(thread_options)
    elif isinstance(thread_options, Mapping):
        # The method decides about streaming, not the caller's options.
        body = {name: value for name, value in thread_options.items() if value is not None and name != "stream"}
    elif thread_options is not None:
        raise ConfigError(f"thread_options must be a ThreadRunOptions or a dict, not {type(thread_options).__name__}")
    call_options = dict(settings)
    for name in _RUN_OPTIONS & call_options.keys():
        value = call_options.pop(name)
        if value is not None:
            body[name] = value
    return body, call_options
