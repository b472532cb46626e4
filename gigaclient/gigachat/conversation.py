"""A dialogue that keeps its own history: ask, and the question and the answer are there for the next turn."""

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

# Options of a turn that are for running functions.
_OF_RUN = {"max_steps": 10, "on_error": "tell", "on_step": None}

# Answers with which the history would be refused from now on, or make no sense.
_HELD_BACK = frozenset({"blacklist", "request_blacklist", "response_blacklist", "request_filter", "error"})

# What a message takes beside its text, in tokens. An estimate for texts that the server has not seen as messages.
_PER_MESSAGE = 4


class Client(Protocol):
    """What a conversation needs of its client, :class:`~gigaclient.GigaChat`."""

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
    """What was said from one user's message to before the next.

    Attributes:
        messages: what was said.
        tokens: how many tokens that is; None while nobody has counted.
    """

    __slots__ = ("messages", "tokens")

    def __init__(self, messages: list[Any], tokens: int | None = None) -> None:
        self.messages = messages
        self.tokens = tokens

    def text(self) -> str:
        return "\n".join(map(_text, self.messages))


class Conversation:
    """A dialogue that keeps its own history. ``giga.conversation()`` makes one.

    A turn joins the history when its answer is whole. A turn that failed leaves the history as it was, and so does one
    whose stream broke or was closed (what had come is on the error and on the stream), and one whose answer the filter
    held back, as any history with it would be refused again.

    One turn at a time: a second one while the first is under way, in this thread or another, is a
    :class:`~gigaclient.errors.ConfigError`. Conversations of one client may go on side by side.

    Args:
        client: whom to ask.
        system, messages, history_tokens, session_id, options: as for
            :meth:`giga.conversation <gigaclient.gigachat.resources.tool_calls.DialogueEndpoints.conversation>`.

    Raises:
        ConfigError: the history is none, or ``history_tokens`` cannot work.
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
        self._system, self._turns = _parted(system, messages)
        self._total: int | None = None  # tokens of the history, as the server counted with its last answer
        self._last_run: Run[ChatCompletion, Usage] | None = None
        self._turn = threading.Lock()
        forks.register(self)

    # -- turns -------------------------------------------------------------------------------------------------------

    def ask(self, text: str | Message | Mapping[str, Any], **options: Any) -> ChatCompletion:
        """Say something and wait for the answer: ``POST /chat/completions`` with the history.

        Args:
            text: what the user says; or a message, for one with attachments, or for the result of a function that is
                called by hand (role ``function``).
            options: as for ``giga.chat``, over those of the conversation. With ``functions``, those are run.

        Returns:
            The answer; of a run of functions the last one, and :attr:`last_run` is the run.

        Raises:
            ConfigError: a turn is under way; what is asked cannot be sent; or the system message and this message alone
                are longer than ``history_tokens``.
            APIStatusError, APIConnectionError, InvalidResponseError: as ``giga.chat``.
            TooManyStepsError: as ``giga.run``.
        """
        release = self._begin()
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
        """Say something and get the answer as it comes; it joins the history once it is whole.

        Args:
            text, options: as for :meth:`ask`.

        Returns:
            The stream. The turn is under way until the stream has ended, broken or been closed.

        Raises:
            ConfigError, APIStatusError, APIConnectionError: as :meth:`ask`; what can go wrong later is told by
                :class:`~gigaclient.streaming.stream.ChatStream`.
        """
        release = self._begin()
        try:
            turn = self._prepare(text, options)
            opened: ChatStream | RunStream[ChatCompletionChunk, ChatCompletion, Usage]
            if turn.functions is None:
                opened = self._client.stream(turn.prompt, **turn.options)
            else:
                opened = self._client.run_stream(turn.prompt, functions=turn.functions, **turn.options)
            return ConversationStream(opened, turn, release)
        except BaseException:
            release()
            raise

    def _begin(self) -> Callable[[], None]:
        lock = self._turn
        if not lock.acquire(blocking=False):
            raise ConfigError(
                "a turn of this conversation is under way: wait for its answer, or read or close its stream"
            )
        return lock.release

    def _prepare(self, text: Any, options: Mapping[str, Any]) -> _Asked:
        message = as_messages(text if isinstance(text, (str, Message)) else [text])[0]
        _check_next(message, self._turns[-1].messages[-1] if self._turns else None)
        merged = {"session_id": self._session_id, **self._options, **_given(options)}
        functions = merged.pop("functions", None)
        of_run = {name: merged.pop(name, default) for name, default in _OF_RUN.items()}
        turns, total = self._trimmed(message, merged)
        prompt = [*([self._system] if self._system is not None else []), *_messages(turns), message]
        return _Asked(
            self, turns, total, message, prompt, functions, merged if functions is None else {**merged, **of_run}
        )

    def _join(
        self, asked: _Asked, answer: list[Any], completion: ChatCompletion, run: Run[ChatCompletion, Usage] | None
    ) -> None:
        self._last_run = run
        if completion.finish_reason in _HELD_BACK:
            return
        usage = completion.usage
        total = (usage.prompt_tokens + usage.completion_tokens) if usage is not None and usage.prompt_tokens else None
        said = [asked.message, *answer]
        turns = list(asked.turns)
        tokens = max(1, total - asked.total) if total is not None and asked.total is not None else None
        if turns and _role(asked.message) != "user":  # a result goes with its call
            before = turns.pop()
            known = before.tokens is not None and tokens is not None
            turns.append(_Turn([*before.messages, *said], (before.tokens or 0) + (tokens or 0) if known else None))
        else:
            turns.append(_Turn(said, tokens))
        self._turns, self._total = turns, total

    # -- how long it gets --------------------------------------------------------------------------------------------

    def _trimmed(self, message: Any, options: Mapping[str, Any]) -> tuple[list[_Turn], int | None]:
        """The turns that are sent with ``message``, and their tokens with the system message, where they are known."""
        limit, turns, total = self._history_tokens, self._turns, self._total
        if limit is None:
            return turns, total
        # A token has a byte at the least: what is short enough by that measure needs no counting.
        most = sum(map(_most, self.messages)) if total is None else total
        if most + _most(message) <= limit:
            return turns, total
        uncounted = [turn for turn in turns if turn.tokens is None]
        system = _text(self._system) if self._system is not None else ""
        texts = [_text(message), system, *(turn.text() for turn in uncounted)]
        new, fixed, *counts = [count.tokens for count in self._client.tokens_count(texts, **_counting(options))]
        for turn, count in zip(uncounted, counts, strict=True):
            turn.tokens = count
        new += _PER_MESSAGE
        fixed += _PER_MESSAGE
        # What the server counted as messages already has in it what a message takes beside its text.
        beside = _PER_MESSAGE if total is None else 0
        kept = [(turn, (turn.tokens or 0) + beside * len(turn.messages)) for turn in turns]
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
        """The history: the system message and the turns that are kept, as messages for any call."""
        return [*([self._system] if self._system is not None else []), *_messages(self._turns)]

    @property
    def session_id(self) -> str:
        """``X-Session-ID`` of each turn."""
        return self._session_id

    @property
    def last_run(self) -> Run[ChatCompletion, Usage] | None:
        """What the functions did in the last turn; None when it had none."""
        return self._last_run

    def reset(self) -> None:
        """Forget the turns; the system message stays.

        Raises:
            ConfigError: a turn is under way.
        """
        release = self._begin()
        try:
            self._turns, self._total, self._last_run = [], None, None
        finally:
            release()

    # -- saving ------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`from_json` makes a conversation of: messages, session, limit. Options are not saved, since they
        may hold functions and secrets.
        """
        return {
            "session_id": self._session_id,
            "history_tokens": self._history_tokens,
            "tokens": self._total,
            "messages": msgspec.json.decode(encode(self.messages, "messages")),
        }

    def to_json(self) -> str:
        """The same as text."""
        return encode(self.to_dict()).decode()

    @classmethod
    def from_json(cls, client: Client, saved: str | bytes | Mapping[str, Any], **options: Any) -> Conversation:
        """A conversation that goes on where a saved one was.

        Args:
            client: whom to ask.
            saved: what :meth:`to_json` or :meth:`to_dict` gave.
            options: as for ``giga.conversation``; ``history_tokens`` and ``session_id`` over the saved ones.

        Raises:
            ConfigError: it is none of these.
        """
        fields: Any = saved
        if isinstance(saved, (str, bytes)):
            try:
                fields = msgspec.json.decode(saved)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                fields = None
        if not isinstance(fields, Mapping) or not isinstance(fields.get("messages"), Sequence):
            raise ConfigError("this is no saved conversation: to_json() and to_dict() make one")
        given = {name: fields.get(name) for name in ("session_id", "history_tokens")}
        made = cls(client, messages=fields["messages"], **{**given, **options})
        tokens = fields.get("tokens")
        made._total = tokens if isinstance(tokens, int) and tokens > 0 else None
        return made

    def __reduce__(self) -> Any:
        raise ConfigError("a conversation cannot be pickled or copied: save it with to_json()")

    def after_fork_in_child(self) -> None:
        self._turn = threading.Lock()

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._turns)} turns, session {self._session_id}>"


class _Asked:
    """A turn under way: what is sent, and how it joins the history."""

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
        self._conversation._join(self, answer, completion, run)


class ConversationStream(Iterator[ChatCompletionChunk]):
    """The answer of a turn as it comes: what :class:`~gigaclient.streaming.stream.ChatStream` is, for a conversation.

    Once it has ended, the turn is part of the history. When it breaks, is closed or dropped, it is not; what had come
    stays readable as :attr:`text` and :attr:`completion`. Where functions are run, their steps are in :attr:`steps`,
    and ``on_step`` of the turn gets them as they happen.
    """

    def __init__(
        self,
        opened: ChatStream | RunStream[ChatCompletionChunk, ChatCompletion, Usage],
        asked: _Asked,
        release: Callable[[], None],
    ) -> None:
        self._send_stream = opened
        self._asked = asked
        self._release: Callable[[], None] | None = release

    @property
    def text(self) -> str:
        """The text that has arrived so far."""
        return self._send_stream.text

    @property
    def completion(self) -> ChatCompletion:
        """The answer so far; whole once the stream has ended."""
        return self._send_stream.completion

    @property
    def steps(self) -> list[Step]:
        """The functions that were called so far."""
        return self._send_stream.steps if isinstance(self._send_stream, RunStream) else []

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the call."""
        return self._send_stream.request_id

    @property
    def closed(self) -> bool:
        """Whether nothing more can come: it ended, broke or was closed."""
        return self._send_stream.closed

    def result(self) -> ChatCompletion:
        """Read the rest and return the whole answer.

        Raises:
            StreamInterruptedError: it was closed, or broke, before the answer was whole; and what iterating raises.
        """
        for _ in self:
            continue
        result = self._send_stream.result()
        return result.completion if isinstance(result, Run) else result

    def close(self) -> None:
        """Give the connection and the turn up, and end a read that is blocked in another thread at once."""
        self._send_stream.close()
        self._end()

    def __iter__(self) -> ConversationStream:
        return self

    def __next__(self) -> ChatCompletionChunk:
        try:
            for event in self._send_stream:
                if not isinstance(event, Step):
                    return event
            self._commit()
        except ConfigError:
            raise  # two threads at once: the other goes on
        except BaseException:
            self._end()
            raise
        self._end()
        raise StopIteration

    def _commit(self) -> None:
        if self._release is None:
            return
        try:
            result = self._send_stream.result()
        except GigaClientError:
            return  # closed before it was whole
        if isinstance(result, Run):
            self._asked.commit(result.messages[len(self._asked.prompt) :], result.completion, result)
        else:
            self._asked.commit([result.message], result)

    def _end(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> ConversationStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_release", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<ConversationStream of {self._send_stream!r}>"


# -- messages ----------------------------------------------------------------------------------------------------------


def _parted(system: str | None, messages: Any) -> tuple[Any, list[_Turn]]:
    """A history as its system message and its turns."""
    given = messages if isinstance(messages, (str, Mapping)) else list(messages)
    history = as_messages(given) if given else []
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


def _check_next(message: Any, last: Any) -> None:
    role, wanted = _role(message), _field(last, "function_call") if last is not None else None
    if role not in ("user", "function"):
        raise ConfigError(f"what is said next is the user's, or a function's result, not of the role \"{role}\"")
    if wanted is not None and role != "function":
        name = wanted.get("name") if isinstance(wanted, Mapping) else wanted.name
        raise ConfigError(
            f"the model waits for the result of {name}: say that first, as "
            f'{{"role": "function", "name": "{name}", "content": …}}'
        )
    if wanted is None and role == "function":
        raise ConfigError("no function was called: a result has nothing to follow")


def _messages(turns: Iterable[_Turn]) -> list[Any]:
    return [message for turn in turns for message in turn.messages]


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _counting(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a turn that are good for counting as well."""
    return {name: value for name, value in options.items() if name == "model" or name in CALL_OPTIONS - {"request_id"}}


def _field(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _role(message: Any) -> str:
    return str(_field(message, "role"))


def _text(message: Any) -> str:
    call = _field(message, "function_call")
    said = str(_field(message, "content") or "")
    return said if call is None else f"{said}{encode(call, 'function_call').decode()}"


def _most(message: Any) -> int:
    return len(_text(message).encode("utf-8", "replace")) + _PER_MESSAGE
