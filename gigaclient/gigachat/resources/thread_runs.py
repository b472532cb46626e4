"""Runs of threads: the model or an assistant answers a thread.

Stand-dependent, not in the public OpenAPI: the official SDK is the source.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient import types
from gigaclient._core.call_arguments import check_names
from gigaclient._core.messages import encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.struct import fields_of
from gigaclient.errors import ConfigError
from gigaclient.gigachat.resources._thread_requests import (
    MessageLike,
    ThreadRequests,
    checked_id,
    message_list,
    path_with_query,
    target_fields,
)
from gigaclient.gigachat.thread_stream import ThreadStream
from gigaclient.transport.request import Request, RetrySafety
from gigaclient.types.options import CallSettings

if TYPE_CHECKING:
    from gigaclient._core.settings import Unpack
    from gigaclient.types.options import PollSettings

__all__ = ["RunSettings", "ThreadRuns"]


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


class ThreadRuns(ThreadRequests):
    """The runs of ``giga.threads``."""

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
        body.update(target_fields(checked_id(thread_id), assistant_id, None))
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
        path = path_with_query("/threads/run", [("thread_id", checked_id(thread_id))], None, None)
        return self._request(Request("GET", path), types.ThreadRunResult, options)

    def wait_for_run(
        self,
        thread_id: str,
        *,
        poll_interval: float = 1.0,
        timeout: float | None = None,
        **options: Unpack[PollSettings],
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
        from gigaclient.gigachat.polling import poll

        client = self._client
        thread_id = checked_id(thread_id)
        client._call_settings(options, ("poll_interval",))
        final = (types.ThreadStatus.READY, types.ThreadStatus.FAILED, types.ThreadStatus.DELETED)

        def describe(seen: types.ThreadRunResult | None) -> str:
            state = f"still {seen.status}" if seen is not None else "in an unknown state"
            return f"the run of thread {thread_id} is {state}"

        return poll(
            client._executor,
            functools.partial(self.get_run, thread_id),
            lambda seen: seen.status in final,
            describe,
            options=options,
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
            The open stream; :class:`~gigaclient.streaming.stream.Stream` describes its errors.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`run`.

        Retried as :meth:`run`. Source: https://github.com/ai-forever/gigachat
        """
        body, call_options = _run_body(_renamed(thread_options, options), settings)
        body.update(target_fields(checked_id(thread_id), assistant_id, None))
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
        body["thread_id"] = checked_id(thread_id)
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
            The open stream; :class:`~gigaclient.streaming.stream.Stream` describes its errors.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`run_messages`.

        Retried as :meth:`run_messages`. Source: https://github.com/ai-forever/gigachat
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
            The open stream; :class:`~gigaclient.streaming.stream.Stream` describes its errors.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`rerun_messages`.

        Retried as :meth:`rerun_messages`, until the first chunk. Source: https://github.com/ai-forever/gigachat
        """
        body, call_options = _run_body(thread_options, settings)
        body["thread_id"] = checked_id(thread_id)
        if update_interval is not None:
            body["update_interval"] = update_interval
        return self._stream("/threads/messages/rerun", body, call_options, RetrySafety.BILLABLE)

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
        body.update(
            target_fields(thread_id, assistant_id, model if model is not None else self._client._settings.model)
        )
        body["messages"] = message_list(messages)
        return body, call_options


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
    check_names(settings, _RUN_OPTIONS)
    call_options = dict(settings)
    for name in _RUN_OPTIONS & call_options.keys():
        value = call_options.pop(name)
        if value is not None:
            body[name] = value
    return body, call_options
