"""What ``%giga`` keeps for a notebook: the client, the dialogue, what was set. Nothing of IPython.

There is one for each kernel, so for each notebook. It is used by the thread that runs the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigaclient.cli import credentials
from gigaclient.contrib.jupyter.options import GigaOptions
from gigaclient.errors import ConfigError
from gigaclient.gigachat import GigaChat

if TYPE_CHECKING:
    from gigaclient.contrib.jupyter.reading import ReadableStream
    from gigaclient.gigachat.conversation import Conversation

__all__ = ["Notebook", "current"]


class Notebook:
    """The dialogue of a notebook, and what holds for its turns."""

    def __init__(self) -> None:
        self._client: GigaChat | None = None
        self._own = False  # whether the client was made here, and so is closed here
        self._conversation: Conversation | None = None
        self._defaults: dict[str, Any] = {}
        self._system: str | None = None

    @property
    def client(self) -> GigaChat:
        """The client: of :meth:`use`, or one made now, of the environment or with the key that a login stored.

        Raises:
            ConfigError: the environment has a value that cannot work, or the stored key cannot be had.
        """
        if self._client is None:
            stored = credentials.stored() if credentials.variable_in_use() is None else None
            if stored is not None:
                self._client = GigaChat(credentials=stored.credentials, scope=stored.scope)
            else:
                self._client = GigaChat()
            self._own = True
        return self._client

    def use(self, client: GigaChat, *, own: bool = False) -> None:
        """Ask ``client`` from now on; the dialogue goes on. ``own``: close it when it is no longer asked."""
        if not callable(getattr(client, "conversation", None)):
            raise ConfigError(f"%giga asks a GigaChat, and this is of the type {type(client).__name__}")
        messages = self._conversation.messages if self._conversation is not None else None
        self.close()
        self._client, self._own = client, own
        if messages is not None:
            self._conversation = client.conversation(messages=messages)

    def close(self) -> None:
        """Let go of the client. The next question makes a new one."""
        client, self._client, own, self._own = self._client, None, self._own, False
        self._conversation = None
        if client is not None and own:
            client.close()

    @property
    def conversation(self) -> Conversation:
        """The dialogue."""
        if self._conversation is None:
            self._conversation = self.client.conversation(self._system)
        return self._conversation

    def reset(self) -> None:
        """Forget the dialogue and its system text. What was set for all questions stays."""
        self._conversation = self._system = None

    def set(self, options: GigaOptions) -> list[str]:
        """Take options that came without a text for all that follow; says what holds now, a line for each."""
        told: list[str] = []
        if options.system is not None:
            self._begin_with(options.system)
            told.append(f"system text: {options.system}" if options.system else "no system text")
        for name, value in options.body().items():
            if value is None:
                self._defaults.pop(name, None)
                told.append(f"{name}: the default again")
            else:
                self._defaults[name] = value
                told.append(f"{name}: {value}")
        return told

    def ask(self, text: str, options: GigaOptions) -> ReadableStream:
        """Ask; the answer joins the dialogue once it is whole.

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
            self._begin_with(options.system)
        return self.conversation.stream(text, **fields)

    def _begin_with(self, system: str) -> None:
        # The session stays, though its prompt cache is of no use for another beginning: a session is a dialogue.
        self._system = system or None
        before = self._conversation
        if before is not None:
            turns = [message for message in before.messages if message.role != "system"]
            self._conversation = self.client.conversation(self._system, messages=turns, session_id=before.session_id)

    def state(self) -> list[str]:
        """How things stand, a line for each."""
        client = self.client
        messages = self._conversation.messages if self._conversation is not None else []
        questions = sum(message.role == "user" for message in messages)
        settings = {"model": client.model, **self._defaults}
        lines = [
            f"{client.base_url}, " + ", ".join(f"{name} {value}" for name, value in settings.items()),
            f"{questions} question{'s' if questions != 1 else ''} in the dialogue"
            + (", which %giga --reset forgets" if questions else ""),
        ]
        if self._system:
            lines.append(f"system text: {self._system}")
        return lines


_current: Notebook | None = None


def current() -> Notebook:
    """The one of this process, made now if there is none yet."""
    global _current
    if _current is None:
        _current = Notebook()
    return _current
