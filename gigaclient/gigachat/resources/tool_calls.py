"""Chat with Python functions that the model may call, and conversations with a history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gigaclient._core.request_options import hide_secrets
from gigaclient.gigachat.chat import ChatEndpoints
from gigaclient.gigachat.resources.tokens import TokensEndpoints

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time

    from gigaclient.functions import AnyFunction
    from gigaclient.gigachat.conversation import Conversation
    from gigaclient.gigachat.tool_loop import OnError, RunStream
    from gigaclient.protocols import Messages
    from gigaclient.types import ChatCompletion, ChatCompletionChunk, Message, Run, Step, Usage
    from gigaclient.types.options import ConversationOptions, RunOptions

__all__ = ["ToolCallEndpoints"]


class ToolCallEndpoints(ChatEndpoints, TokensEndpoints):
    """Several requests to ``/chat/completions``: tool loops and conversations."""

    def run(
        self,
        messages: Messages,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        on_result: Callable[[Any], Any] | None = None,
        repair: bool = True,
        **options: Unpack[RunOptions],
    ) -> Run[ChatCompletion, Usage]:
        """Chat, run the functions that the model calls, and send their results until it answers.

        Sends ``POST /chat/completions`` for each turn.

        Args:
            messages: as for ``giga.chat``.
            functions: Python functions, described to the model by their type hints and docstrings (see
                :func:`gigaclient.functions.function`); specifications with a callable (``Tool(spec, request)`` or a
                pair); or specifications alone, of the service's functions or of functions that the caller runs. A call
                of one of the caller's ends the run: ``.completion.function_call`` has it. When any are listed, built-in
                functions that are not listed are off.
            max_steps: the maximum number of turns in which the model may call functions.
            on_error: ``"tell"`` sends an exception's class and message to the model, so that it can try again;
                ``"raise"`` raises it.
            on_step: called with each :class:`~gigaclient.types.Step` after its function has run.
            on_result: gets the result of each function and returns what is sent to the model. By default a result is
                sent in the widest form: see ``functions`` in the guide.
            repair: mend the model's arguments: JSON that is not valid, and JSON text in place of a list or an object.
                ``.repaired`` of the step says what was mended.
            options: as for ``giga.chat``, for each of the requests: a ``deadline`` limits one turn. A ``function_call``
                that forces a function applies to the first turn only. Without a ``session_id`` the turns share a new
                one, so that the server can use its prompt cache.

        Returns:
            The run: ``.text`` of the last response, ``.completion``, ``.messages`` to continue with, ``.steps``,
                ``.usage``.

        Raises:
            TooManyStepsError: the model kept calling functions; ``.run`` holds the turns so far.
            InvalidResponseError: with ``on_error="raise"``, the arguments do not fit, or there is no such function.
            Exception: with ``on_error="raise"``, the exception of a function. ``KeyboardInterrupt`` and other
                ``BaseException`` types are always raised.
            ConfigError: a function cannot be described to the model, and nothing was sent; or its result has no form
                in JSON, and ``.run`` holds the steps, that one included.
            APIStatusError, APIConnectionError: as ``giga.chat``; ``.run`` holds the earlier turns.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        from gigaclient.gigachat.tool_dialect import V1
        from gigaclient.gigachat.tool_loop import ToolLoop

        return ToolLoop(V1(self), messages, functions, max_steps, on_error, on_step, on_result, repair, options).run()

    def run_stream(
        self,
        messages: Messages,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        on_result: Callable[[Any], Any] | None = None,
        repair: bool = True,
        **options: Unpack[RunOptions],
    ) -> RunStream[ChatCompletionChunk, ChatCompletion, Usage]:
        """Stream a run with functions: ``POST /chat/completions`` with ``stream`` for each turn.

        Args:
            messages: as for :meth:`run`, like all arguments.
            functions: as for :meth:`run`.
            max_steps: as for :meth:`run`.
            on_error: as for :meth:`run`.
            on_step: as for :meth:`run`.
            on_result: as for :meth:`run`.
            repair: as for :meth:`run`.
            options: as for :meth:`run`.

        Returns:
            An iterator and context manager of events: chunks of the responses, and a :class:`~gigaclient.types.Step`
                for each function that has run. Each event has a ``.text``. The first request has been sent and its
                status checked. ``.result()`` reads the rest and returns the run.

        Raises:
            ConfigError, APIStatusError, APIConnectionError: the first request failed. Later errors are described in
                :class:`~gigaclient.gigachat.tool_loop.RunStream`.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        from gigaclient.gigachat.tool_dialect import V1
        from gigaclient.gigachat.tool_loop import RunStream, ToolLoop

        return RunStream(
            ToolLoop(V1(self), messages, functions, max_steps, on_error, on_step, on_result, repair, options)
        )

    def conversation(
        self,
        system: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, Any]] = (),
        history_tokens: int | None = None,
        keep_blocked: bool = False,
        **options: Unpack[ConversationOptions],
    ) -> Conversation:
        """Return a dialogue that keeps its history. Nothing is sent before its first turn.

        Args:
            system: the system message, which always stays first.
            messages: an earlier history to continue.
            history_tokens: the maximum length of the history in prompt tokens; the oldest turns are dropped above it.
                ``max_tokens`` limits the responses.
            keep_blocked: keep a turn whose response the filter blocked. The service may refuse such a history.
            options: as for ``giga.chat``, for each turn; ``functions``, ``max_steps``, ``on_error``, ``on_step``,
                ``on_result`` and ``repair`` as for :meth:`run`. ``session_id`` is the ``X-Session-ID`` of each turn, by
                which the server finds its prompt cache; a new UUID when None.

        Returns:
            The conversation: ``.ask(text)``, ``.stream(text)``, ``.messages``, ``.to_json()``.

        Raises:
            ConfigError: the history or ``history_tokens`` is invalid.
            TypeError: an option has an unknown name.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/keeping-context
        """
        from gigaclient.gigachat.conversation import Conversation

        arguments: Any = options
        hide_secrets(arguments)
        return Conversation(
            self,
            system,
            messages=messages,
            history_tokens=history_tokens,
            keep_blocked=keep_blocked,
            **options,
        )
