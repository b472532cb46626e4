"""The history of a conversation: its turns, their token counts, and which turns fit into a limit.

Pure, but for the function that counts tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gigaclient._core.messages import as_messages, encode
from gigaclient.errors import ConfigError
from gigaclient.types import Message, Usage

__all__ = ["History", "Turn"]

# Tokens that a message takes in addition to its text. An estimate, for texts that the server has not seen as messages.
_TOKENS_PER_MESSAGE = 4


class Turn(msgspec.Struct, eq=False):
    """The messages from one user's message to before the next.

    Attributes:
        messages: the messages.
        tokens: their number of tokens; None if they have not been counted.
    """

    messages: list[Any]
    tokens: int | None = None

    def text(self) -> str:
        """Return the texts of all messages."""
        return "\n".join(map(_text, self.messages))


class History:
    """The system message and the turns of a conversation. Adding and dropping turns makes a new object.

    Attributes:
        system: the system message, or None.
        turns: the turns.
        total: the tokens of all messages, as counted by the server; None if unknown.
    """

    __slots__ = ("system", "total", "turns")

    def __init__(self, system: Any, turns: Sequence[Turn] = (), total: int | None = None) -> None:
        self.system = system
        self.turns = list(turns)
        self.total = total

    @classmethod
    def of(cls, system: str | None, messages: Any) -> History:
        """Return the history that consists of the messages.

        Raises:
            ConfigError: the messages are not valid, or there are two system messages.
        """
        listed = messages if isinstance(messages, (str, Mapping)) else list(messages)
        remaining = as_messages(listed) if listed else []
        first = Message(role="system", content=system) if system else None
        if remaining and _role(remaining[0]) == "system":
            if first is not None:
                raise ConfigError("there are two system messages: leave out system=, or the first of messages")
            first = remaining.pop(0)
        turns: list[Turn] = []
        for message in remaining:
            if _role(message) == "user" or not turns:
                turns.append(Turn([]))
            turns[-1].messages.append(message)
        return cls(first, turns)

    @property
    def messages(self) -> list[Any]:
        """All messages in order."""
        first = [self.system] if self.system is not None else []
        return [*first, *(message for turn in self.turns for message in turn.messages)]

    def check_next(self, message: Any) -> None:
        """Check that ``message`` may follow the last one.

        Raises:
            ConfigError: it has the wrong role, or the result of a function is missing or unexpected.
        """
        last = self.turns[-1].messages[-1] if self.turns else None
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

    def with_turn(self, message: Any, answer: Iterable[Any], usage: Usage | None) -> History:
        """Return the history with one more message and its answer; ``usage`` is that of the whole request."""
        total = (usage.prompt_tokens + usage.completion_tokens) if usage is not None and usage.prompt_tokens else None
        messages = [message, *answer]
        turns = list(self.turns)
        tokens = max(1, total - self.total) if total is not None and self.total is not None else None
        if turns and _role(message) != "user":  # a function's result belongs to the turn of its call
            previous = turns.pop()
            known = previous.tokens is not None and tokens is not None
            turns.append(
                Turn([*previous.messages, *messages], (previous.tokens or 0) + (tokens or 0) if known else None)
            )
        else:
            turns.append(Turn(messages, tokens))
        return History(self.system, turns, total)

    def trimmed(self, message: Any, limit: int | None, count: Callable[[list[str]], list[int]]) -> History:
        """Return the history without its oldest turns, so that it fits into the limit with ``message``.

        Args:
            message: the next message.
            limit: the limit in tokens; None for no limit.
            count: counts the tokens of texts. It is not called for a history that certainly fits.

        Raises:
            ConfigError: the system message and ``message`` alone exceed the limit.
        """
        # A token has at least one byte, so a history of fewer bytes than the limit needs no counting.
        if limit is None or self._upper_bound() + _max_tokens(message) <= limit:
            return self
        uncounted = [turn for turn in self.turns if turn.tokens is None]
        system = _text(self.system) if self.system is not None else ""
        new, fixed, *counts = count([_text(message), system, *(turn.text() for turn in uncounted)])
        for turn, tokens in zip(uncounted, counts, strict=True):
            turn.tokens = tokens
        new += _TOKENS_PER_MESSAGE
        fixed += _TOKENS_PER_MESSAGE
        total = self.total
        # The counts of messages by the server already include the tokens that a message takes in addition to its text.
        overhead = _TOKENS_PER_MESSAGE if total is None else 0
        kept = [(turn, (turn.tokens or 0) + overhead * len(turn.messages)) for turn in self.turns]
        length = total if total is not None else fixed + sum(tokens for _, tokens in kept)
        while kept and length + new > limit and not (len(kept) == 1 and _role(message) != "user"):
            length -= kept.pop(0)[1]
        if not kept and fixed + new > limit:
            raise ConfigError(
                f"the system message and this message are about {fixed + new} tokens, and history_tokens of the "
                f"conversation is {limit}: raise it, or say less"
            )
        return History(self.system, [turn for turn, _ in kept], length if total is not None and kept else None)

    def _upper_bound(self) -> int:
        return sum(map(_max_tokens, self.messages)) if self.total is None else self.total


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
