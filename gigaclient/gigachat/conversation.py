"""A dialogue that keeps its history: each question and answer is part of the next request."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gigaclient._core.messages import as_messages, encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives import fork_safety as forks
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat.tool_loop import RunStream
from gigaclient.streaming.stream import ChatStream
from gigaclient.types import ChatCompletion, ChatCompletionChunk, Message, Usage
from gigaclient.types.tool_runs import Run, Step

if TYPE_CHECKING:
    from gigaclient.types import TokensCount

__all__ = ["Conversation", "ConversationStream"]

# Options of a turn that only ``run`` takes.
_RUN_OPTIONS = {"max_steps": 10, "on_error": "tell", "on_step": None}

# Finish reasons whose message would make the service refuse the history from then on, or has no content.
_FILTERED_REASONS = frozenset({"blacklist", "request_blacklist", "response_blacklist", "request_filter", "error"})

# Tokens that a message takes in addition to its text. An estimate, for texts that the server has not seen as messages.
_TOKENS_PER_MESSAGE = 4


class Client(Protocol):
    """The methods of :class:`~gigaclient.GigaChat` that a conversation uses."""

    @property
    def chat(self) -> Callable[..., ChatCompletion]: ...

    def stream(self, messages: Any, **options: Any) -> ChatStream: ...

    def run(self, messages: Any, *, functions: Any, **options: Any) -> Run[ChatCompletion, Usage]: ...

    def run_stream(
        self, messages: Any, *, functions: Any, **options: Any
    ) -> RunStream[ChatCompletionChunk, ChatCompletion, Usage]: ...

    @property
    def tokens_count(self) -> Callable[..., list[TokensCount]]: ...


class _Turn:
    """The messages from one user's message to before the next.

    Attributes:
        messages: the messages.
        tokens: their number of tokens; None if they have not been counted.
    """

    __slots__ = ("messages", "tokens")

    def __init__(self, messages: list[Any], tokens: int | None = None) -> None:
        self.messages = messages
        self.tokens = tokens

    def text(self) -> str:
        return "\n".join(map(_text, self.messages))


class Conversation:
    """A dialogue that keeps its history; ``giga.conversation()`` creates one.

    A turn joins the history when its response is complete. Three kinds of turns leave the history unchanged: one that
    fails, one whose stream breaks or is closed, and one whose response the filter holds back. The service would refuse
    any history with such a response. The error and the stream hold what arrived.

    Only one turn may run at a time. A second one, in this thread or another, raises
    :class:`~gigaclient.errors.ConfigError`. Different conversations of one client may run at the same time.

    Args:
        client: the client that sends the requests.
        system, messages, history_tokens, session_id, options: as for
            :meth:`giga.conversation <gigaclient.gigachat.resources.tool_calls.DialogueEndpoints.conversation>`.

    Raises:
        ConfigError: the history is not valid, or ``history_tokens`` cannot work.
    """

    def __init__(
        self,
        client: Client,
        system: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, Any]] = (),
        history_tokens: int | None = None,
        session_id: str | None = None,
        **options: Any,
    ) -> None:
        if history_tokens is not None and (
            isinstance(history_tokens, bool) or not isinstance(history_tokens, int) or history_tokens < 1
        ):
            raise ConfigError("history_tokens of a conversation bounds its history: a whole number, 1 or more")
        if system is not None and not isinstance(system, str):
            raise ConfigError(f"system must be a string, not {type(system).__name__}")
        if session_id is not None and not isinstance(session_id, str):
            raise ConfigError(f"session_id must be a string, not {type(session_id).__name__}")
        self._client = client
        self._options = options
        self._history_tokens = history_tokens
        self._session_id = session_id or str(uuid.uuid4())
        self._system, self._turns = _split_history(system, messages)
        self._total: int | None = None  # tokens of the history, as counted by the server with its last response
        self._last_run: Run[ChatCompletion, Usage] | None = None
        self._turn_lock = threading.Lock()
        forks.register(self)

    # -- turns -------------------------------------------------------------------------------------------------------

    def ask(self, text: str | Message | Mapping[str, Any], **options: Any) -> ChatCompletion:
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
            APIStatusError, APIConnectionError, InvalidResponseError: as ``giga.chat``.
            TooManyStepsError: as ``giga.run``.
        """
        release = self._start_turn()
        try:
            turn = self._prepare(text, options)
            if turn.functions is None:
                completion = self._client.chat(turn.prompt, **turn.options)
                turn.commit([completion.message], completion)
            else:
                run = self._client.run(turn.prompt, functions=turn.functions, **turn.options)
                completion = run.completion
                turn.commit(run.messages[len(turn.prompt) :], completion, run)
            return completion
        finally:
            release()

    def stream(self, text: str | Message | Mapping[str, Any], **options: Any) -> ConversationStream:
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

    def _prepare(self, text: Any, options: Mapping[str, Any]) -> _PendingTurn:
        message = as_messages(text if isinstance(text, (str, Message)) else [text])[0]
        _check_next_message(message, self._turns[-1].messages[-1] if self._turns else None)
        merged = {"session_id": self._session_id, **self._options, **_without_none(options)}
        functions = merged.pop("functions", None)
        run_options = {name: merged.pop(name, default) for name, default in _RUN_OPTIONS.items()}
        turns, total = self._trim_history(message, merged)
        prompt = [*([self._system] if self._system is not None else []), *_messages(turns), message]
        return _PendingTurn(
            self, turns, total, message, prompt, functions, merged if functions is None else {**merged, **run_options}
        )

    def _add_to_history(
        self, turn: _PendingTurn, answer: list[Any], completion: ChatCompletion, run: Run[ChatCompletion, Usage] | None
    ) -> None:
        self._last_run = run
        if completion.finish_reason in _FILTERED_REASONS:
            return
        usage = completion.usage
        total = (usage.prompt_tokens + usage.completion_tokens) if usage is not None and usage.prompt_tokens else None
        messages = [turn.message, *answer]
        turns = list(turn.turns)
        tokens = max(1, total - turn.total) if total is not None and turn.total is not None else None
        if turns and _role(turn.message) != "user":  # a function's result belongs to the turn of its call
            previous = turns.pop()
            known = previous.tokens is not None and tokens is not None
            turns.append(
                _Turn([*previous.messages, *messages], (previous.tokens or 0) + (tokens or 0) if known else None)
            )
        else:
            turns.append(_Turn(messages, tokens))
        self._turns, self._total = turns, total

    # -- the length of the history -----------------------------------------------------------------------------------

    def _trim_history(self, message: Any, options: Mapping[str, Any]) -> tuple[list[_Turn], int | None]:
        """Return the turns to send with ``message``, and their tokens with the system message, if they are known."""
        limit, turns, total = self._history_tokens, self._turns, self._total
        if limit is None:
            return turns, total
        # A token has at least one byte, so a history of fewer bytes than the limit needs no counting.
        upper_bound = sum(map(_max_tokens, self.messages)) if total is None else total
        if upper_bound + _max_tokens(message) <= limit:
            return turns, total
        uncounted = [turn for turn in turns if turn.tokens is None]
        system = _text(self._system) if self._system is not None else ""
        texts = [_text(message), system, *(turn.text() for turn in uncounted)]
        new, fixed, *counts = [
            count.tokens for count in self._client.tokens_count(texts, **_token_count_options(options))
        ]
        for turn, count in zip(uncounted, counts, strict=True):
            turn.tokens = count
        new += _TOKENS_PER_MESSAGE
        fixed += _TOKENS_PER_MESSAGE
        # The counts of messages by the server already include the tokens that a message takes in addition to its text.
        overhead = _TOKENS_PER_MESSAGE if total is None else 0
        kept = [(turn, (turn.tokens or 0) + overhead * len(turn.messages)) for turn in turns]
        length = total if total is not None else fixed + sum(tokens for _, tokens in kept)
        while kept and length + new > limit and not (len(kept) == 1 and _role(message) != "user"):
            length -= kept.pop(0)[1]
        if not kept and fixed + new > limit:
            raise ConfigError(
                f"the system message and this message are about {fixed + new} tokens, and history_tokens of the "
                f"conversation is {limit}: raise it, or say less"
            )
        return [turn for turn, _ in kept], length if total is not None and kept else None

    # -- the history -------------------------------------------------------------------------------------------------

    @property
    def messages(self) -> list[Any]:
        """The history: the system message and the kept turns, as messages for any call."""
        return [*([self._system] if self._system is not None else []), *_messages(self._turns)]

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
            self._turns, self._total, self._last_run = [], None, None
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
            "tokens": self._total,
            "messages": msgspec.json.decode(encode(self.messages, "messages")),
        }

    def to_json(self) -> str:
        """Return the same as :meth:`to_dict` as JSON text."""
        return encode(self.to_dict()).decode()

    @classmethod
    def from_json(cls, client: Client, saved: str | bytes | Mapping[str, Any], **options: Any) -> Conversation:
        """Return a conversation that continues a saved one.

        Args:
            client: the client that sends the requests.
            saved: a result of :meth:`to_json` or :meth:`to_dict`.
            options: as for ``giga.conversation``; ``history_tokens`` and ``session_id`` override the saved values.

        Raises:
            ConfigError: this is not a saved conversation.
        """
        fields: Any = saved
        if isinstance(saved, (str, bytes)):
            try:
                fields = msgspec.json.decode(saved)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                fields = None
        if not isinstance(fields, Mapping) or not isinstance(fields.get("messages"), Sequence):
            raise ConfigError("this is no saved conversation: to_json() and to_dict() make one")
        saved_options = {name: fields.get(name) for name in ("session_id", "history_tokens")}
        conversation = cls(client, messages=fields["messages"], **{**saved_options, **options})
        tokens = fields.get("tokens")
        conversation._total = tokens if isinstance(tokens, int) and tokens > 0 else None
        return conversation

    def __reduce__(self) -> Any:
        raise ConfigError("a conversation cannot be pickled or copied: save it with to_json()")

    def after_fork_in_child(self) -> None:
        """Replace the lock in a forked child, since a thread of the parent may have held it."""
        self._turn_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._turns)} turns, session {self._session_id}>"


class _PendingTurn:
    """A turn in progress: the request, and how it joins the history."""

    __slots__ = ("_conversation", "functions", "message", "options", "prompt", "total", "turns")

    def __init__(
        self,
        conversation: Conversation,
        turns: list[_Turn],
        total: int | None,
        message: Any,
        prompt: list[Any],
        functions: Any,
        options: dict[str, Any],
    ) -> None:
        self._conversation = conversation
        self.turns = turns
        self.total = total
        self.message = message
        self.prompt = prompt
        self.functions = functions
        self.options = options

    def commit(
        self, answer: list[Any], completion: ChatCompletion, run: Run[ChatCompletion, Usage] | None = None
    ) -> None:
        self._conversation._add_to_history(self, answer, completion, run)


class ConversationStream(Iterator[ChatCompletionChunk]):
    """The stream of a turn, with the interface of :class:`~gigaclient.streaming.stream.ChatStream`.

    The turn joins the history when the stream ends. If the stream breaks, is closed or dropped, it does not;
    :attr:`text` and :attr:`completion` still hold what arrived. Functions that were run are in :attr:`steps`, and the
    turn's ``on_step`` gets each when it has run.
    """

    def __init__(
        self,
        stream: ChatStream | RunStream[ChatCompletionChunk, ChatCompletion, Usage],
        turn: _PendingTurn,
        release: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._turn = turn
        self._release: Callable[[], None] | None = release

    @property
    def text(self) -> str:
        """The text that has arrived so far."""
        return self._stream.text

    @property
    def completion(self) -> ChatCompletion:
        """The response so far; complete once the stream has ended."""
        return self._stream.completion

    @property
    def steps(self) -> list[Step]:
        """The functions called so far."""
        return self._stream.steps if isinstance(self._stream, RunStream) else []

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the call."""
        return self._stream.request_id

    @property
    def closed(self) -> bool:
        """True once the stream has ended, failed or been closed."""
        return self._stream.closed

    def result(self) -> ChatCompletion:
        """Read the rest and return the complete response.

        Raises:
            StreamInterruptedError: the stream was closed or failed early. Errors of the iteration come through.
        """
        for _ in self:
            continue
        result = self._stream.result()
        return result.completion if isinstance(result, Run) else result

    def close(self) -> None:
        """Close the connection and end the turn; a read that is blocked in another thread ends at once."""
        self._stream.close()
        self._finish_turn()

    def __iter__(self) -> ConversationStream:
        return self

    def __next__(self) -> ChatCompletionChunk:
        try:
            for event in self._stream:
                if not isinstance(event, Step):
                    return event
            self._commit()
        except ConfigError:
            raise  # a second thread may not read, and the first one goes on
        except BaseException:
            self._finish_turn()
            raise
        self._finish_turn()
        raise StopIteration

    def _commit(self) -> None:
        if self._release is None:
            return
        try:
            result = self._stream.result()
        except GigaClientError:
            return  # closed before it was complete
        if isinstance(result, Run):
            self._turn.commit(result.messages[len(self._turn.prompt) :], result.completion, result)
        else:
            self._turn.commit([result.message], result)

    def _finish_turn(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> ConversationStream:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_release", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<ConversationStream of {self._stream!r}>"


# -- messages ----------------------------------------------------------------------------------------------------------


def _split_history(system: str | None, messages: Any) -> tuple[Any, list[_Turn]]:
    """Split a history into its system message and its turns."""
    listed = messages if isinstance(messages, (str, Mapping)) else list(messages)
    history = as_messages(listed) if listed else []
    first = Message(role="system", content=system) if system else None
    if history and _role(history[0]) == "system":
        if first is not None:
            raise ConfigError("there are two system messages: leave out system=, or the first of messages")
        first = history.pop(0)
    turns: list[_Turn] = []
    for message in history:
        if _role(message) == "user" or not turns:
            turns.append(_Turn([]))
        turns[-1].messages.append(message)
    return first, turns


def _check_next_message(message: Any, last: Any) -> None:
    role, pending_call = _role(message), _field(last, "function_call") if last is not None else None
    if role not in ("user", "function"):
        raise ConfigError(f"the next message must be the user's or a function's result, not of the role \"{role}\"")
    if pending_call is not None and role != "function":
        name = pending_call.get("name") if isinstance(pending_call, Mapping) else pending_call.name
        raise ConfigError(
            f"the model waits for the result of {name}: send that first, as "
            f'{{"role": "function", "name": "{name}", "content": …}}'
        )
    if pending_call is None and role == "function":
        raise ConfigError("no function was called: a result has nothing to follow")


def _messages(turns: Iterable[_Turn]) -> list[Any]:
    return [message for turn in turns for message in turn.messages]


def _without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _token_count_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a turn that also apply to counting tokens."""
    return {name: value for name, value in options.items() if name == "model" or name in CALL_OPTIONS - {"request_id"}}


def _field(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _role(message: Any) -> str:
    return str(_field(message, "role"))


def _text(message: Any) -> str:
    call = _field(message, "function_call")
    content = str(_field(message, "content") or "")
    return content if call is None else f"{content}{encode(call, 'function_call').decode()}"


def _max_tokens(message: Any) -> int:
    return len(_text(message).encode("utf-8", "replace")) + _TOKENS_PER_MESSAGE
