"""The state of ``%giga`` for a notebook: the client, the dialogue and the options set. It does not import IPython.

There is one state for each kernel, so for each notebook. Only the thread that runs the cells uses it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gigaclient.cli import credentials
from gigaclient.contrib.jupyter.options import GigaOptions
from gigaclient.errors import ConfigError
from gigaclient.gigachat import GigaChat
from gigaclient.types import Message

if TYPE_CHECKING:
    from gigaclient.contrib.stream_reader import Readable
    from gigaclient.gigachat.conversation import Conversation

__all__ = ["Notebook", "current"]


class Notebook:
    """The dialogue of a notebook, its client, and the options of all its questions."""

    def __init__(self) -> None:
        self._client: GigaChat | None = None
        self._own = False  # True if this object closes the client
        self._origin: int | None = None  # of a client made from the environment; None for any other
        self._conversation: Conversation | None = None
        self._defaults: dict[str, Any] = {}
        self._system: str | None = None

    @property
    def client(self) -> GigaChat:
        """The client of :meth:`use`; otherwise one made from the environment, or with the key that a login stored.

        The second is made anew when the variables or the stored key have changed. The dialogue continues.

        Raises:
            ConfigError: the environment has an invalid value, or the stored key cannot be read.
        """
        if self._client is None or self._origin not in (None, _origin()):
            origin = _origin()
            stored = credentials.in_use()
            self.use(GigaChat(**stored.arguments()) if stored is not None else GigaChat(), own=True)
            self._origin = origin
        assert self._client is not None
        return self._client

    def use(self, client: GigaChat, *, own: bool = False) -> None:
        """Use ``client`` from now on; the dialogue continues. If ``own``, :meth:`close` closes it."""
        if not callable(getattr(client, "conversation", None)):
            raise ConfigError(f"%giga asks a GigaChat, and this is of the type {type(client).__name__}")
        messages = self.history
        self.close()
        self._client, self._own = client, own
        if messages:
            self._conversation = client.conversation(messages=messages)

    def close(self) -> None:
        """Drop the client and the dialogue. The next question makes new ones."""
        client, self._client, own, self._own = self._client, None, self._own, False
        self._conversation = self._origin = None
        if client is not None and own:
            client.close()

    @property
    def conversation(self) -> Conversation:
        """The dialogue."""
        client = self.client  # first, because a new client moves the dialogue
        if self._conversation is None:
            self._conversation = client.conversation(self._system)
        return self._conversation

    @property
    def history(self) -> list[Message]:
        """The messages of the dialogue; empty before the first answer."""
        messages = self._conversation.messages if self._conversation is not None else []
        return [message if isinstance(message, Message) else Message(**message) for message in messages]

    def reset(self) -> None:
        """Forget the dialogue and its system text. Options set for all questions stay."""
        self._conversation = self._system = None

    def set(self, options: GigaOptions) -> list[str]:
        """Set options for all following questions; return one line for each change."""
        changes: list[str] = []
        if options.system is not None:
            self._set_system(options.system)
            changes.append(f"system text: {options.system}" if options.system else "no system text")
        for name, value in options.body().items():
            if value is None:
                self._defaults.pop(name, None)
                changes.append(f"{name}: the default again")
            else:
                self._defaults[name] = value
                changes.append(f"{name}: {value}")
        return changes

    def ask(self, text: str, options: GigaOptions) -> Readable:
        """Send a question; its answer is added to the dialogue when it is complete.

        Raises:
            ConfigError, APIStatusError, APIConnectionError, InvalidResponseError: as ``giga.stream``.
        """
        fields = {**self._defaults, **options.body()}
        if options.auto:
            fields["function_call"] = "auto"
        fields = {name: value for name, value in fields.items() if value is not None}
        if options.alone:
            first = [{"role": "system", "content": options.system}] if options.system else []
            return self.client.stream([*first, {"role": "user", "content": text}], **fields)
        if options.system is not None:
            self._set_system(options.system)
        return self.conversation.stream(text, **fields)

    def _set_system(self, system: str) -> None:
        # The session id stays, because it identifies the dialogue, although its prompt cache no longer matches.
        self._system = system or None
        before = self._conversation
        if before is not None:
            turns = [message for message in self.history if message.role != "system"]
            self._conversation = self.client.conversation(self._system, messages=turns, session_id=before.session_id)

    def state(self) -> list[str]:
        """Return the model, the options and the size of the dialogue as lines of text."""
        client = self.client
        questions = sum(message.role == "user" for message in self.history)
        settings = {"model": client.model, **self._defaults}
        lines = [
            f"{client.base_url}, " + ", ".join(f"{name} {value}" for name, value in settings.items()),
            f"{questions} question{'s' if questions != 1 else ''} in the dialogue"
            + (", which %giga --reset forgets" if questions else ""),
        ]
        if self._system:
            lines.append(f"system text: {self._system}")
        return lines


def _origin() -> int:
    """Return a number that changes with the variables and the stored key; it reveals neither."""
    try:
        stored_at = credentials.credentials_file().stat().st_mtime_ns
    except OSError:
        stored_at = 0
    return hash((stored_at, frozenset(item for item in os.environ.items() if item[0].startswith("GIGACHAT_"))))


_current: Notebook | None = None


def current() -> Notebook:
    """Return the notebook of this process; make it if there is none yet."""
    global _current
    if _current is None:
        _current = Notebook()
    return _current
