"""``giga.chat.run`` and ``giga.chat.run_stream``: tool loops of API v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigaclient.gigachat.resource import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time

    from gigaclient.functions import AnyFunction
    from gigaclient.gigachat.chat_requests import ChatRequests, MessagesV2
    from gigaclient.gigachat.tool_loop import OnError, RunStream
    from gigaclient.types import ChatCompletionResponse, ChatCompletionResponseChunk, ChatUsage, Run, Step
    from gigaclient.types.options import RunV2Options

__all__ = ["ChatToolCalls"]


class ChatToolCalls(Resource):
    """The tool loops of ``giga.chat``."""

    _client: ChatRequests

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
        **options: Unpack[RunV2Options],
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
        from gigaclient.gigachat.tool_loop import ToolLoop
        from gigaclient.gigachat.v2.tool_dialect import V2

        dialect = V2(self._client, result_role, result_as_text)
        return ToolLoop(dialect, messages, functions, max_steps, on_error, on_step, on_result, repair, options).run()

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
        **options: Unpack[RunV2Options],
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
        from gigaclient.gigachat.tool_loop import RunStream, ToolLoop
        from gigaclient.gigachat.v2.tool_dialect import V2

        dialect = V2(self._client, result_role, result_as_text)
        return RunStream(
            ToolLoop(dialect, messages, functions, max_steps, on_error, on_step, on_result, repair, options)
        )
