"""Threads: dialogues that the server keeps, and the runs that answer them.

Stand-dependent, not in the public OpenAPI: what is here is known from the official SDK.
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

_AnswerT = TypeVar("_AnswerT", bound=APIResponse)

_ABSENT = "threads.list() shows those there are, if this server has threads at all"

# What people pass as a message here: a text is one of the user's.
MessageLike = types.Message | str | Mapping[str, Any]


class RunSettings(CallSettings, total=False):
    """How a run is to answer, by name: the fields of :class:`~gigaclient.types.ThreadRunOptions`, and call options."""

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

    It holds nothing of its own: write ``giga.threads`` wherever it is needed.
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
        """The threads: ``GET /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistants_ids: ids of assistants; their threads alone.
            limit: so many at the most.
            before: Unix time in seconds; older ones alone.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The threads in the server's order, as ``.threads``.

        Raises:
            ConfigError: an argument cannot work. Nothing was sent.
            NotFoundError: this server has no threads.
            APIStatusError: the server refused it.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            InvalidResponseError: an answer came that is not one.

        Source: https://github.com/ai-forever/gigachat
        """
        query: list[tuple[str, str]] = []
        if assistants_ids is not None:
            query += [("assistants_ids", one) for one in _ids(assistants_ids, "assistants_ids")]
        place = _place("/threads", query, limit, before)
        return self._request(Request("GET", place), types.Threads, options)

    def list(
        self,
        assistants_ids: Iterable[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
        **options: Unpack[CallSettings],
    ) -> types.Threads:
        """The same as :meth:`get_threads`: ``GET /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            assistants_ids, limit, before, options: as for :meth:`get_threads`.

        Returns:
            The threads, as ``.threads``.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        return self.get_threads(assistants_ids, limit, before, **options)

    def create_thread(self, **options: Unpack[CallSettings]) -> str:
        """Make an empty thread: ``POST /threads``. Stand-dependent, not in the public OpenAPI.

        Args:
            options: of the call, as for :meth:`get_threads`.

        Returns:
            Its id.

        Raises:
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Sent again only when the server turned it away or surely never got it. Source:
        https://github.com/ai-forever/gigachat
        """
        return self._request(
            Request("POST", "/threads", body=b"{}", retry_safety=RetrySafety.NON_IDEMPOTENT), types.Thread, options
        ).id

    def retrieve(self, threads_ids: str | Iterable[str], **options: Unpack[CallSettings]) -> types.Threads:
        """Threads by their ids: ``POST /threads/retrieve``. Stand-dependent, not in the public OpenAPI.

        Args:
            threads_ids: one id or several.
            options: of the call, as for :meth:`get_threads`.

        Returns:
            The threads, as ``.threads``; ``.status`` and ``.run_lock`` tell of a run under way.

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
            thread_id: which one.
            options: of the call, as for :meth:`get_threads`.

        Returns:
            True. The server says nothing more than that it is gone.

        Raises:
            ConfigError: ``thread_id`` is no id. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        # Not FREELY: the second of two would say that it was never there.
        body = encode({"thread_id": _id(thread_id)})
        answered = self._send(
            Request("POST", "/threads/delete", body=body, retry_safety=RetrySafety.NON_IDEMPOTENT), options
        )
        refusal = answered.refusal()
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
        """The messages of a thread: ``GET /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: which thread.
            limit: so many at the most.
            before: Unix time in seconds; older ones alone.
            options: of the call, as for :meth:`get_threads`.

        Returns:
            The messages in the server's order, as ``.messages``.

        Raises:
            ConfigError: an argument cannot work. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        place = _place("/threads/messages", [("thread_id", _id(thread_id))], limit, before)
        return self._request(Request("GET", place), types.ThreadMessages, options)

    def add_message(
        self, thread_id: str, message: MessageLike, **options: Unpack[CallSettings]
    ) -> types.ThreadMessagesResponse:
        """Add a message to a thread: ``POST /threads/messages``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: which thread.
            message: a text (of the user), a dict or a :class:`~gigaclient.types.Message`.
            options: of the call, as for :meth:`get_threads`.

        Returns:
            The thread's id and the message's.

        Raises:
            ConfigError: it cannot be a message. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Sent again only when the server turned it away or surely never got it. Source:
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
            thread_id: which thread; a new one when None.
            messages: texts (of the user), dicts or :class:`~gigaclient.types.Message`, in any mixture.
            assistant_id: the assistant that is to answer in a new thread.
            model: the model that is to; not sent beside a thread or an assistant, which have their own.
            options: of the call, as for :meth:`get_threads`.

        Returns:
            The thread's id and those of the messages.

        Raises:
            ConfigError: there are no messages, or one cannot be one. Nothing was sent.
            NotFoundError: there is no such thread, or no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Sent again only when the server turned it away or surely never got it. Source:
        https://github.com/ai-forever/gigachat
        """
        body = {"messages": _messages(messages), **_who(thread_id, assistant_id, model)}
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
        """Begin to answer a thread, and do not wait: ``POST /threads/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: which thread.
            assistant_id: the assistant that is to answer.
            thread_options: how; fields that are not known here are sent as they are.
            options: the same, as the official SDK once called it. Deprecated.
            settings: how, by name (``temperature``, ``max_tokens`` …, over ``thread_options``), and options of the
                call, as for :meth:`get_threads`.

        Returns:
            The run's ``.status``, at first ``in_progress``. :meth:`wait_for_run` waits for its end.

        Raises:
            ConfigError: an argument cannot work. Nothing was sent.
            NotFoundError: there is no such thread, or no such assistant.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Sent again only when the server turned it away or surely never got it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, given = _run_body(_renamed(thread_options, options), settings)
        body.update(_who(_id(thread_id), assistant_id, None))
        request = Request("POST", "/threads/run", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.ThreadRunResponse, given)

    def get_run(self, thread_id: str, **options: Unpack[CallSettings]) -> types.ThreadRunResult:
        """How a run stands: ``GET /threads/run``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: which thread.
            options: of the call, as for :meth:`get_threads`.

        Returns:
            The run's ``.status``, and its ``.messages`` once there are any.

        Raises:
            ConfigError: ``thread_id`` is no id. Nothing was sent.
            NotFoundError: there is no such thread, or it has no run.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Source: https://github.com/ai-forever/gigachat
        """
        place = _place("/threads/run", [("thread_id", _id(thread_id))], None, None)
        return self._request(Request("GET", place), types.ThreadRunResult, options)

    def wait_for_run(
        self,
        thread_id: str,
        *,
        poll_interval: float = 1.0,
        timeout: float | None = None,
        **options: Any,
    ) -> types.ThreadRunResult:
        """Wait for the end of a run: ``GET /threads/run``, again and again. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: which thread.
            poll_interval: seconds before the second look; each pause is half as long again as the one before, up to a
                minute (or to ``poll_interval``, if that is longer).
            timeout: seconds for the whole wait; None waits for as long as it takes.
            options: of each look: ``deadline``, ``max_retries``, ``headers`` …

        Returns:
            The run with status ``ready``, ``failed`` or ``deleted``; ``.text`` is what the assistant said.

        Raises:
            APITimeoutError: (a ``TimeoutError``) it did not end in time; ``.completion`` is the run as it was seen
                last. The run goes on: wait for it again.
            APIConnectionError: ``close()`` ended the wait, from another thread.
            NotFoundError: there is no such thread, or it has no run.
            ConfigError, APIStatusError, InvalidResponseError: as for :meth:`get_run`. Of failures that pass (429, 5xx,
                a broken connection) five in a row are outlasted.

        A status that is not known does not end the wait. Source: https://github.com/ai-forever/gigachat
        """
        from gigaclient.gigachat.polling import poll, shortened

        client = self._client
        wanted = _id(thread_id)
        client._call_settings(options)
        ends = (types.ThreadStatus.READY, types.ThreadStatus.FAILED, types.ThreadStatus.DELETED)

        def look(left: float) -> types.ThreadRunResult:
            return self.get_run(wanted, **shortened(options, left, client._core.timeouts.deadline))

        def describe(seen: types.ThreadRunResult | None) -> str:
            return f"the run of thread {wanted} is still {seen.status if seen is not None else 'not to be seen'}"

        return poll(
            client._core,
            look,
            lambda seen: seen.status in ends,
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
        """Answer a thread, as it comes: ``POST /threads/run`` with ``stream``. Stand-dependent, not in the public
        OpenAPI.

        Args:
            thread_id, assistant_id, thread_options, options, settings: as for :meth:`run`, and ``event_timeout``.

        Returns:
            The stream. The request has been sent and its status checked; what can go wrong later is told by
            :class:`~gigaclient.streaming.stream.Stream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`run`.

        Sent again only when the server turned it away or surely never got it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, given = _run_body(_renamed(thread_options, options), settings)
        body.update(_who(_id(thread_id), assistant_id, None))
        return self._open("/threads/run", body, given, RetrySafety.NON_IDEMPOTENT)

    def run_messages(
        self,
        messages: MessageLike | Iterable[MessageLike],
        thread_id: str | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        **settings: Unpack[RunSettings],
    ) -> types.ThreadCompletion:
        """Add messages and wait for the answer: ``POST /threads/messages/run``. Stand-dependent, not in the public
        OpenAPI.

        Args:
            messages: texts (of the user), dicts or :class:`~gigaclient.types.Message`, in any mixture.
            thread_id: which thread; a new one when None.
            assistant_id: the assistant that is to answer in a new thread.
            model: the model that is to; not sent beside a thread or an assistant, which have their own. Without any of
                the three it is the client's.
            thread_options: how; fields that are not known here are sent as they are.
            settings: how, by name (``temperature``, ``max_tokens`` …, over ``thread_options``), and options of the
                call, as for :meth:`get_threads`.

        Returns:
            The answer; ``.text`` is what was said, ``.thread_id`` where to go on.

        Raises:
            ConfigError: an argument cannot work. Nothing was sent.
            NotFoundError: there is no such thread, assistant or model.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Sent again only when the server turned it away or surely never got it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, given = self._messages_body(messages, thread_id, assistant_id, model, thread_options, settings)
        request = Request("POST", "/threads/messages/run", body=encode(body), retry_safety=RetrySafety.NON_IDEMPOTENT)
        return self._request(request, types.ThreadCompletion, given)

    def rerun_messages(
        self,
        thread_id: str,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        **settings: Unpack[RunSettings],
    ) -> types.ThreadCompletion:
        """Have the last answer made anew: ``POST /threads/messages/rerun``. Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id: which thread.
            thread_options, settings: as for :meth:`run_messages`.

        Returns:
            The new answer.

        Raises:
            ConfigError: an argument cannot work. Nothing was sent.
            NotFoundError: there is no such thread.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_threads`.

        Repeated after 429 and 5xx and when surely not sent, ``max_retries`` times. Source:
        https://github.com/ai-forever/gigachat
        """
        body, given = _run_body(thread_options, settings)
        body["thread_id"] = _id(thread_id)
        request = Request("POST", "/threads/messages/rerun", body=encode(body), retry_safety=RetrySafety.BILLABLE)
        return self._request(request, types.ThreadCompletion, given)

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
        """Add messages and get the answer as it comes: ``POST /threads/messages/run`` with ``stream``. Stand-dependent,
        not in the public OpenAPI.

        Args:
            messages, thread_id, assistant_id, model, thread_options, settings: as for :meth:`run_messages`, and
                ``event_timeout``.
            update_interval: seconds between chunks at the most frequent.

        Returns:
            The stream. The request has been sent and its status checked; what can go wrong later is told by
            :class:`~gigaclient.streaming.stream.Stream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`run_messages`.

        Sent again only when the server turned it away or surely never got it. Source:
        https://github.com/ai-forever/gigachat
        """
        body, given = self._messages_body(messages, thread_id, assistant_id, model, thread_options, settings)
        if update_interval is not None:
            body["update_interval"] = update_interval
        return self._open("/threads/messages/run", body, given, RetrySafety.NON_IDEMPOTENT)

    def rerun_messages_stream(
        self,
        thread_id: str,
        thread_options: types.ThreadRunOptions | Mapping[str, Any] | None = None,
        update_interval: float | None = None,
        **settings: Unpack[RunSettings],
    ) -> ThreadStream:
        """Have the last answer made anew, as it comes: ``POST /threads/messages/rerun`` with ``stream``.
        Stand-dependent, not in the public OpenAPI.

        Args:
            thread_id, thread_options, settings: as for :meth:`rerun_messages`, and ``event_timeout``.
            update_interval: seconds between chunks at the most frequent.

        Returns:
            The stream. The request has been sent and its status checked; what can go wrong later is told by
            :class:`~gigaclient.streaming.stream.Stream`.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`rerun_messages`.

        Repeated as :meth:`rerun_messages` is, before the first chunk alone. Source:
        https://github.com/ai-forever/gigachat
        """
        body, given = _run_body(thread_options, settings)
        body["thread_id"] = _id(thread_id)
        if update_interval is not None:
            body["update_interval"] = update_interval
        return self._open("/threads/messages/rerun", body, given, RetrySafety.BILLABLE)

    # -- how -------------------------------------------------------------------------------------------------------

    def _request(self, request: Request, kind: type[_AnswerT], options: Mapping[str, Any]) -> _AnswerT:
        return parse_response(self._send(request, options), kind)

    def _send(self, request: Request, options: Mapping[str, Any]) -> BufferedResponse:
        with _advising():
            return self._client._send(request, options)

    def _open(
        self, place: str, body: dict[str, Any], given: Mapping[str, Any], retry_safety: RetrySafety
    ) -> ThreadStream:
        settings = self._client._call_settings(given)
        request = Request(
            "POST", place, body=encode({**body, "stream": True}), accept="text/event-stream", retry_safety=retry_safety
        )
        with _advising():
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
        body, given = _run_body(thread_options, settings)
        body.update(_who(thread_id, assistant_id, model if model is not None else self._client._settings.model))
        body["messages"] = _messages(messages)
        return body, given

    def __repr__(self) -> str:
        return f"<threads of {self._client!r}>"


@contextlib.contextmanager
def _advising() -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        if isinstance(error.body, dict) and "model" in str(error.body.get("message")):
            raise  # of models there is better advice
        with advising(NotFoundError, _ABSENT):
            raise


def _id(thread_id: Any) -> str:
    return checked_text(thread_id, "thread_id", "id")


def _ids(ids: Any, name: str) -> Iterable[str]:
    return checked_texts(ids, name) if not isinstance(ids, (list, tuple)) or ids else ()


def _who(thread_id: str | None, assistant_id: str | None, model: str | None) -> dict[str, str]:
    """Where to, and who answers there: a thread and an assistant have a model of their own."""
    who = {}
    if thread_id is not None:
        who["thread_id"] = _id(thread_id)
    if assistant_id is not None:
        who["assistant_id"] = checked_text(assistant_id, "assistant_id", "id")
    if not who and model is not None:
        who["model"] = checked_text(model, "model")
    return who


def _place(path: str, query: Sequence[tuple[str, str]], limit: int | None, before: int | None) -> str:
    pairs = [*query]
    for name, value in (("limit", limit), ("before", before)):
        if value is not None:
            pairs.append((name, str(_checked(name, value))))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _checked(name: str, value: Any) -> int:
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
        messages = [types.Message(role="user", content=one) if isinstance(one, str) else one for one in messages]
    return as_messages(messages)


def _renamed(thread_options: Any, options: Any) -> Any:
    if options is None:
        return thread_options
    warnings.warn("options= is deprecated: pass thread_options=", DeprecationWarning, stacklevel=3)
    return options if thread_options is None else thread_options


def _run_body(thread_options: Any, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of the body that say how to answer, and the call options."""
    body: dict[str, Any] = {}
    if isinstance(thread_options, msgspec.Struct):
        body = fields_of(thread_options)
    elif isinstance(thread_options, Mapping):
        # Whether the answer is streamed is decided by the method.
        body = {name: value for name, value in thread_options.items() if value is not None and name != "stream"}
    elif thread_options is not None:
        raise ConfigError(f"thread_options must be a ThreadRunOptions or a dict, not {type(thread_options).__name__}")
    given = dict(settings)
    for name in _RUN_OPTIONS & given.keys():
        value = given.pop(name)
        if value is not None:
            body[name] = value
    return body, given
