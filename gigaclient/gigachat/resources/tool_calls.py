"""Dialogues: functions run for the model, and histories that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gigaclient.gigachat.chat import ChatEndpoints
from gigaclient.gigachat.resources.tokens import TokensEndpoints

if TYPE_CHECKING:
    from gigaclient.functions import AnyFunction
    from gigaclient.gigachat.conversation import Conversation
    from gigaclient.gigachat.tool_loop import OnError, RunStream
    from gigaclient.protocols import Messages
    from gigaclient.types import ChatCompletion, ChatCompletionChunk, Message, Run, Step, Usage

__all__ = ["DialogueEndpoints"]


class DialogueEndpoints(ChatEndpoints, TokensEndpoints):
    """``/chat/completions`` asked several times."""

    def run(
        self,
        messages: Messages,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        **options: Any,
    ) -> Run[ChatCompletion, Usage]:
        """Ask, run the functions that the model wants called, tell it the results, and so on until it answers:
        ``POST /chat/completions`` for each turn.

        Args:
            messages: as for ``giga.chat``.
            functions: Python functions (what they do is told by their type hints and docstrings: see
                :func:`gigaclient.functions.function`), specifications with what to call (``Tool(spec, request)`` or a
                pair), or specifications alone: of the service's functions, which run there, or of functions that the
                caller runs by hand. A call of one of the latter ends the run: ``.completion.function_call`` has it.
                When any are listed, built-in functions that are not listed are off.
            max_steps: for how many turns the model may call functions.
            on_error: ``"tell"`` the model what went wrong (an exception's class and message), so that it can try
                again; or ``"raise"`` what the function raised.
            on_step: gets each :class:`~gigaclient.types.Step` when its function has run.
            options: as for ``giga.chat``, for each of the requests: a ``deadline`` bounds one turn. A ``function_call``
                that forces a function does so in the first turn alone. Unless a session is named, the turns share one,
                for the sake of the server's prompt cache.

        Returns:
            The run: ``.text`` of the last answer, ``.completion``, ``.messages`` to go on with, ``.steps``, ``.usage``.

        Raises:
            TooManyStepsError: the model went on calling functions; ``.run`` holds what was done.
            InvalidResponseError: with ``on_error="raise"``, the arguments do not fit, or there is no such function.
            Exception: with ``on_error="raise"``, whatever a function raises. ``KeyboardInterrupt`` and its like always
                come through.
            ConfigError: a function cannot be described to the model; nothing was sent.
            APIStatusError, APIConnectionError: as ``giga.chat``; ``.run`` holds the turns before.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/functions/overview
        """
        from gigaclient.gigachat import tool_loop as running

        return running.run(
            running.V1(self),
            messages,
            functions,
            max_steps=max_steps,
            on_error=on_error,
            on_step=on_step,
            options=running.with_session(self, options),
        )

    def run_stream(
        self,
        messages: Messages,
        *,
        functions: Iterable[AnyFunction],
        max_steps: int = 10,
        on_error: OnError = "tell",
        on_step: Callable[[Step], object] | None = None,
        **options: Any,
    ) -> RunStream[ChatCompletionChunk, ChatCompletion, Usage]:
        """The same as :meth:`run`, as it goes: ``POST /chat/completions`` with ``stream`` for each turn.

        Args:
            messages, functions, max_steps, on_error, on_step, options: as for :meth:`run`.

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

        return running.RunStream(
            running.V1(self),
            messages,
            functions,
            max_steps=max_steps,
            on_error=on_error,
            on_step=on_step,
            options=running.with_session(self, options),
        )

    def conversation(
        self,
        system: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, Any]] = (),
        history_tokens: int | None = None,
        session_id: str | None = None,
        **options: Any,
    ) -> Conversation:
        """A dialogue that keeps its own history; nothing is sent before its first turn.

        Args:
            system: the system message, which stands first for good.
            messages: an earlier history to go on from.
            history_tokens: how long the history may get, in tokens of the prompt; the oldest turns are dropped then. It
                does not bound the answers: ``max_tokens`` does.
            session_id: ``X-Session-ID`` of each turn, by which the server finds its prompt cache; a new UUID when None.
            options: as for ``giga.chat``, for each of its turns; ``functions``, ``max_steps``, ``on_error`` and
                ``on_step`` as for :meth:`run`.

        Returns:
            The conversation: ``.ask(text)``, ``.stream(text)``, ``.messages``, ``.to_json()``.

        Raises:
            ConfigError: the history is none, or ``history_tokens`` cannot work.

        Source: https://developers.sber.ru/docs/ru/gigachat/guides/keeping-context
        """
        from gigaclient.gigachat.conversation import Conversation

        return Conversation(
            self, system, messages=messages, history_tokens=history_tokens, session_id=session_id, **options
        )
