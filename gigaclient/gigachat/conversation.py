"""A dialogue that keeps its history: each question and answer is part of the next request."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gigaclient._core.call_arguments import RUN_OPTIONS, check_names
from gigaclient._core.messages import as_messages, encode
from gigaclient._core.request_options import CALL_OPTIONS, hide_secrets
from gigaclient._primitives import fork_safety as forks
from gigaclient._primitives.serialization import JSON_ERRORS
from gigaclient.errors import ConfigError
from gigaclient.gigachat.attachments import CHAT_ARGUMENTS
from gigaclient.gigachat.conversation_stream import ConversationStream, PendingTurn
from gigaclient.gigachat.history import History
from gigaclient.types import ChatCompletion, ChatCompletionChunk, Message, Usage
from gigaclient.types.tool_runs import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack  # type checkers include it; it is not needed at run time

    from gigaclient.gigachat.tool_loop import RunStream
    from gigaclient.streaming.stream import ChatStream
    from gigaclient.types import TokensCount
    from gigaclient.types.options import ConversationOptions

    class SavedConversationOptions(ConversationOptions, total=False):
        """The keyword arguments of :meth:`Conversation.from_json`."""

        history_tokens: int | None
        keep_blocked: bool


__all__ = ["Conversation", "ConversationStream"]

_ARGUMENTS = CHAT_ARGUMENTS | RUN_OPTIONS


class Client(Protocol):
    """The methods of :class:`~gigaclient.GigaChat` that a conversation uses."""

    @property
    def chat(self) -> Callable[..., ChatCompletion]: ...

    @property
    def stream(self) -> Callable[..., ChatStream]: ...

    @property
    def run(self) -> Callable[..., Run[ChatCompletion, Usage]]: ...

    @property
    def run_stream(self) -> Callable[..., RunStream[ChatCompletionChunk, ChatCompletion, Usage]]: ...

    def _with_attachments(self, messages: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]: ...

    @property
    def tokens_count(self) -> Callable[..., list[TokensCount]]: ...


class Conversation:
    """A dialogue that keeps its history; ``giga.conversation()`` creates one.

    A turn joins the history when its response is complete. Three kinds of turns leave the history unchanged: one that
    fails, one whose stream breaks or is closed, and one whose response the filter blocks (``.blocked``). The service
    would refuse any history with such a response. The error and the stream hold what arrived.

    Only one turn may run at a time. A second one, in this thread or another, raises
    :class:`~gigaclient.errors.ConfigError`. Different conversations of one client may run at the same time.

    Args:
        client: the client that sends the requests.
        system, messages, history_tokens, session_id, keep_blocked, options: as for
            :meth:`giga.conversation <gigaclient.gigachat.resources.tool_calls.ToolCallEndpoints.conversation>`.

    Raises:
        ConfigError: the history is not valid, or ``history_tokens`` cannot work.
        TypeError: an option has an unknown name.
    """

    def __init__(
        self,
        client: Client,
        system: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, Any]] = (),
        history_tokens: int | None = None,
        keep_blocked: bool = False,
        **options: Unpack[ConversationOptions],
    ) -> None:
        check_names(options, _ARGUMENTS, ("messages", "history_tokens", "keep_blocked"))
        if history_tokens is not None and (
            isinstance(history_tokens, bool) or not isinstance(history_tokens, int) or history_tokens < 1
        ):
            raise ConfigError("history_tokens of a conversation bounds its history: a whole number, 1 or more")
        if system is not None and not isinstance(system, str):
            raise ConfigError(f"system must be a string, not {type(system).__name__}")
        session_id = options.pop("session_id", None)
        if session_id is not None and not isinstance(session_id, str):
            raise ConfigError(f"session_id must be a string, not {type(session_id).__name__}")
        self._client = client
        self._options: Mapping[str, Any] = options
        self._history_tokens = history_tokens
        self._keep_blocked = keep_blocked
        self._session_id = session_id or str(uuid.uuid4())
        self._history = History.of(system, messages)
        self._last_run: Run[ChatCompletion, Usage] | None = None
        self._turn_lock = threading.Lock()
        forks.register(self)

    # -- turns -------------------------------------------------------------------------------------------------------

    def ask(self, text: str | Message | Mapping[str, Any], **options: Unpack[ConversationOptions]) -> ChatCompletion:
        """Send a message with the history and return the response: ``POST /chat/completions``.

        Args:
            text: the user's text; or a message, for attachments or for the result of a function that the caller runs
                (role ``function``).
            options: as for ``giga.chat``; they override those of the conversation. ``functions`` are run.

        Returns:
            The response; after a run of functions the last one, and :attr:`last_run` is the run.

        Raises:
            ConfigError: another turn is in progress; the message cannot be sent; or the system message and this message
                alone are longer than ``history_tokens``.
            TypeError: an option has an unknown name.
            APIStatusError, APIConnectionError, InvalidResponseError: as ``giga.chat``.
            TooManyStepsError: as ``giga.run``.
        """
        release = self._start_turn()
        try:
            turn = self._prepare(text, options)
            if turn.functions is None:
                completion = self._client.chat(turn.prompt, **turn.options)
                turn.commit(completion)
                return completion
            run = self._client.run(turn.prompt, functions=turn.functions, **turn.options)
            turn.commit(run)
            return run.completion
        finally:
            release()

    def stream(
        self, text: str | Message | Mapping[str, Any], **options: Unpack[ConversationOptions]
    ) -> ConversationStream:
        """Send a message with the history and stream the response. The arguments are those of :meth:`ask`.

        The response joins the history once it is complete.

        Returns:
            The stream. The turn is in progress until the stream has ended, failed or been closed.

        Raises:
            ConfigError, APIStatusError, APIConnectionError: as :meth:`ask`; for later errors see
                :class:`~gigaclient.streaming.stream.ChatStream`.
        """
        release = self._start_turn()
        try:
            turn = self._prepare(text, options)
            stream: ChatStream | RunStream[ChatCompletionChunk, ChatCompletion, Usage]
            if turn.functions is None:
                stream = self._client.stream(turn.prompt, **turn.options)
            else:
                stream = self._client.run_stream(turn.prompt, functions=turn.functions, **turn.options)
            return ConversationStream(stream, turn, release)
        except BaseException:
            release()
            raise

    def _start_turn(self) -> Callable[[], None]:
        lock = self._turn_lock
        if not lock.acquire(blocking=False):
            raise ConfigError(
                "a turn of this conversation is in progress: wait for its answer, or read or close its stream"
            )
        return lock.release

    def _prepare(self, text: Any, options: Mapping[str, Any]) -> PendingTurn:
        check_names(options, _ARGUMENTS)
        message = as_messages(text if isinstance(text, (str, Message)) else [text])[0]
        self._history.check_next(message)
        merged = {"session_id": self._session_id, **self._options, **_without_none(options)}
        (message,), merged = self._client._with_attachments([message], merged)
        functions = merged.pop("functions", None)
        run_options = {name: merged.pop(name) for name in RUN_OPTIONS & merged.keys()}

        def count(texts: list[str]) -> list[int]:
            allowed = {"model", *CALL_OPTIONS} - {"request_id"}
            kept = {name: value for name, value in merged.items() if name in allowed}
            return [counted.tokens for counted in self._client.tokens_count(texts, **kept)]

        history = self._history.trimmed(message, self._history_tokens, count)
        if functions is not None:
            merged.update(run_options)
        return PendingTurn(history, message, functions, merged, self._join)

    def _join(
        self, turn: PendingTurn, answer: list[Any], completion: ChatCompletion, run: Run[ChatCompletion, Usage] | None
    ) -> None:
        self._last_run = run
        # The message of an answer that ended with "error" has no content.
        if completion.finish_reason != "error" and (self._keep_blocked or not completion.blocked):
            self._history = turn.history.with_turn(turn.message, answer, completion.usage)

    # -- the history -------------------------------------------------------------------------------------------------

    @property
    def messages(self) -> list[Any]:
        """The history: the system message and the kept turns, as messages for any call."""
        return self._history.messages

    @property
    def session_id(self) -> str:
        """``X-Session-ID`` of each turn."""
        return self._session_id

    @property
    def last_run(self) -> Run[ChatCompletion, Usage] | None:
        """The run of functions in the last turn; None if it had none."""
        return self._last_run

    def reset(self) -> None:
        """Forget the turns and keep the system message.

        Raises:
            ConfigError: a turn is in progress.
        """
        release = self._start_turn()
        try:
            self._history, self._last_run = History(self._history.system), None
        finally:
            release()

    # -- saving ------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the messages, session and limit for :meth:`from_json`.

        Options are not saved, since they may hold functions and secrets.
        """
        return {
            "session_id": self._session_id,
            "history_tokens": self._history_tokens,
            "tokens": self._history.total,
            "messages": msgspec.json.decode(encode(self.messages, "messages")),
        }

    def to_json(self) -> str:
        """Return the same as :meth:`to_dict` as JSON text."""
        return encode(self.to_dict()).decode()

    @classmethod
    def from_json(
        cls, client: Client, saved: str | bytes | Mapping[str, Any], **options: Unpack[SavedConversationOptions]
    ) -> Conversation:
        """Return a conversation that continues a saved one.

        Args:
            client: the client that sends the requests.
            saved: a result of :meth:`to_json` or :meth:`to_dict`.
            options: as for ``giga.conversation``; ``history_tokens`` and ``session_id`` override the saved values.

        Raises:
            ConfigError: this is not a saved conversation.
            TypeError: an option has an unknown name.
        """
        fields: Any = saved
        if isinstance(saved, (str, bytes)):
            try:
                fields = msgspec.json.decode(saved)
            except JSON_ERRORS:
                fields = None
        if not isinstance(fields, Mapping) or not isinstance(fields.get("messages"), Sequence):
            raise ConfigError("this is no saved conversation: to_json() and to_dict() make one")
        arguments: Any = options
        hide_secrets(arguments)
        merged: Any = {name: fields.get(name) for name in ("session_id", "history_tokens")}
        merged.update(options)
        conversation = cls(client, messages=fields["messages"], **merged)
        tokens = fields.get("tokens")
        conversation._history.total = tokens if isinstance(tokens, int) and tokens > 0 else None
        return conversation

    def __reduce__(self) -> Any:
        raise ConfigError("a conversation cannot be pickled or copied: save it with to_json()")

    def after_fork_in_child(self) -> None:
        """Replace the lock in a forked child, since a thread of the parent may have held it."""
        self._turn_lock = threading.Lock()

    def __repr__(self) -> str:
        history = getattr(self, "_history", None)
        if history is None:  # a traceback may show a conversation whose arguments are invalid
            return "<Conversation without history>"
        return f"<Conversation of {len(history.turns)} turns, session {self._session_id}>"

    def _repr_markdown_(self) -> str:
        from gigaclient.types.markdown import of_dialogue

        return of_dialogue(item if isinstance(item, Message) else Message(**item) for item in self.messages)


def _without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
