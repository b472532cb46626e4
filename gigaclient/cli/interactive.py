"""The interactive chat: it reads questions and commands that begin with a slash, and prints answers."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gigaclient.cli.console import Screen, wants_colour
from gigaclient.cli.credentials import state_folder
from gigaclient.cli.exit_codes import hint_for, with_commands
from gigaclient.cli.layout import columns_of, wrap
from gigaclient.cli.output import echo_off, show, show_notes, waiting
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat.conversation import Conversation

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.document import Document

__all__ = ["ChatSession"]

_COMMANDS: Mapping[str, str] = {
    "help": "list the commands",
    "reset": "clear the conversation; the system message stays",
    "system": "show the system message; /system TEXT sets it, - removes it",
    "model": "show the model; /model NAME changes it",
    "models": "list the models that your key can use",
    "temperature": "show the temperature; /temperature 0.3 sets it, - restores the default",
    "retry": "ask the last question again",
    "usage": "show the tokens of the last answer and of the whole session",
    "save": "/save PATH saves the conversation: *.md as Markdown, else for /load",
    "load": "/load PATH continues a saved conversation",
    "exit": "exit; Ctrl-D does the same",
}
_KEYS = "Enter sends, Alt+Enter starts a new line, Ctrl-C stops an answer, Up recalls a question."

# A question may begin with a path, which has more slashes.
_COMMAND = re.compile(r"/[A-Za-z]*(?:\s|$)")


class _WithoutSession:
    """A provider for a service without sessions: it drops ``session_id``."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def stream(self, messages: Any, **options: Any) -> Any:
        """Start a stream without ``session_id``."""
        options.pop("session_id", None)
        return self._provider.stream(messages, **options)


class ChatSession:
    """An interactive conversation.

    Args:
        screen: the output.
        client: a ``GigaChat`` or a ``FakeGpt``; the caller closes it.
        system: the system message.
        options: fields of each request.
        plain: print answers as plain text instead of Markdown.
    """

    def __init__(
        self, screen: Screen, client: Any, *, system: str | None, options: Mapping[str, Any], plain: bool
    ) -> None:
        self._screen = screen
        self._client = client
        self._has_models = hasattr(client, "get_models")
        self._options = dict(options)
        self._plain = plain
        self._conversation = self._new_conversation(system, ())
        self._session_tokens = 0
        self._last_usage: Any = None
        self._last_question: str | None = None
        # Files of this conversation, which /save may overwrite.
        self._own_files: set[Path] = set()
        self._models: list[str] = []

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until the user exits."""
        session = _prompt_session(self._complete)
        host = urlsplit(self._client.base_url).netloc
        self._screen.note(f"{self._model()} at {host}. /help lists the commands, Ctrl-D leaves.")
        while True:
            try:
                line = session.prompt()
            except KeyboardInterrupt:  # drop the line, like a shell
                continue
            except EOFError:
                return
            text = line.strip()
            if not text:
                continue
            try:
                with echo_off():
                    if not _COMMAND.match(text):
                        self._ask(line.strip("\n"))
                    elif not self._command(text):
                        return
            except KeyboardInterrupt:
                self._screen.note("stopped")
            except (GigaClientError, OSError) as error:
                self._screen.error(with_commands(str(error)), hint_for(error))

    def _ask(self, text: str) -> None:
        self._last_question = text
        options = dict(self._options)
        with waiting(self._screen) as stop_waiting:
            stream = self._conversation.stream(text, **options)
            completion = self._show(text, stream, stop_waiting)
        show_notes(self._screen, completion)
        self._last_usage = completion.usage
        if completion.usage is not None:
            self._session_tokens += completion.usage.total_tokens

    def _show(self, text: str, stream: Any, before_text: Callable[[], None]) -> Any:
        """Show the answer to ``text`` and return it; after an error, keep the received part."""
        try:
            with stream:
                show(self._screen, stream, plain=self._plain, before_text=before_text)
                return stream.result()
        except KeyboardInterrupt:
            self._keep_partial_answer(text, stream.text)
            raise
        except GigaClientError:
            if stream.text:
                self._keep_partial_answer(text, stream.text)
            raise

    def _keep_partial_answer(self, question: str, answer: str) -> None:
        """Add the received part of a stopped answer to the conversation, because it is on the screen."""
        if answer:
            history = [
                *self._conversation.messages,
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
            self._conversation = self._new_conversation(None, history, self._conversation.session_id)

    def _new_conversation(
        self, system: str | None, messages: Iterable[Any], session_id: str | None = None
    ) -> Conversation:
        return Conversation(self._provider(), system, messages=messages, session_id=session_id)

    def _provider(self) -> Any:
        return self._client if self._has_models else _WithoutSession(self._client)

    def _model(self) -> str:
        model = self._options.get("model") or getattr(self._client, "model", None) or self._client.default_model
        return str(model)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _command(self, text: str) -> bool:
        """Run a command; return False for the one that exits."""
        name, _, argument = text[1:].partition(" ")
        argument = argument.strip()
        if name in ("exit", "quit", "q"):
            return False
        method: Callable[[str], None] | None = getattr(self, f"_do_{name}", None) if name in _COMMANDS else None
        if method is None:
            self._screen.error(f"no such command: /{name}", "/help lists them")
        else:
            method(argument)
        return True

    def _do_help(self, argument: str) -> None:
        width = max(map(len, _COMMANDS)) + 1
        for name, help_ in _COMMANDS.items():
            line = wrap(help_, columns_of(sys.stdout), first=f"{'/' + name:<{width}}  ", rest=" " * (width + 2))
            self._screen.text(line + "\n")
        self._screen.line(_KEYS)

    def _do_reset(self, argument: str) -> None:
        self._conversation = self._new_conversation(self._system(), ())
        self._last_question = None
        self._screen.note("a new conversation")

    def _do_system(self, argument: str) -> None:
        if argument:
            messages = self._conversation.messages
            turns = messages[1:] if self._system() is not None else messages
            self._conversation = self._new_conversation(None if argument == "-" else argument, turns)
        self._screen.note(self._system() or "there is no system message")

    def _system(self) -> str | None:
        for message in self._conversation.messages[:1]:
            role, content = _role_and_content(message)
            if role == "system":
                return content
        return None

    def _do_model(self, argument: str) -> None:
        if argument:
            self._options["model"] = argument
        self._screen.note(self._model())

    def _do_models(self, argument: str) -> None:
        if not self._has_models:
            self._screen.note("this service has one model")
            return
        models = self._client.get_models().data
        self._models = [model.id for model in models]
        self._screen.table(("model", "type"), [(model.id, model.type) for model in models])

    def _do_temperature(self, argument: str) -> None:
        if argument == "-":
            self._options.pop("temperature", None)
        elif argument:
            try:
                self._options["temperature"] = float(argument.replace(",", "."))
            except ValueError:
                raise ConfigError("the temperature is a number, such as 0.3") from None
        self._screen.note(f"temperature: {self._options.get('temperature', 'the default of the model')}")

    def _do_retry(self, argument: str) -> None:
        question = self._last_question
        if question is None:
            raise ConfigError("there is no question to ask again")
        # Remove the last turn: the last message of the user and all after it.
        messages = self._conversation.messages
        user_indexes = [index for index, message in enumerate(messages) if _role_and_content(message)[0] == "user"]
        if user_indexes and _role_and_content(messages[user_indexes[-1]])[1] == question:
            self._conversation = self._new_conversation(
                None, messages[: user_indexes[-1]], self._conversation.session_id
            )
        self._ask(question)

    def _do_usage(self, argument: str) -> None:
        usage = self._last_usage
        last = (
            f"{usage.prompt_tokens} + {usage.completion_tokens} = {usage.total_tokens} tokens"
            if usage is not None
            else "not known"
        )
        self._screen.line(f"last answer: {last}; since the start: {self._session_tokens} tokens")

    def _do_save(self, argument: str) -> None:
        if not argument:
            raise ConfigError("the path is missing: /save PATH")
        path = Path(argument).expanduser()
        if path.exists() and path.resolve() not in self._own_files:
            raise ConfigError(f"{path} already exists: choose another name, or delete it")
        if path.suffix.lower() == ".md":
            content = "\n".join(_as_markdown(self._conversation.messages))
        else:
            content = self._conversation.to_json() + "\n"
        path.write_text(content, encoding="utf-8")
        self._own_files.add(path.resolve())
        self._screen.note(f"saved: {path}")

    def _do_load(self, argument: str) -> None:
        if not argument:
            raise ConfigError("the path is missing: /load PATH")
        path = Path(argument).expanduser()
        try:
            saved = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is not a saved conversation") from None
        self._conversation = Conversation.from_json(self._provider(), saved)
        self._own_files.add(path.resolve())
        users = [content for role, content in map(_role_and_content, self._conversation.messages) if role == "user"]
        self._last_question = users[-1] if users else None
        self._screen.note(f"{len(users)} questions and their answers")

    # -- completion --------------------------------------------------------------------------------------------------

    def _complete(self, text: str) -> Iterator[tuple[str, int, str]]:
        """Yield completions of a line: the text, the number of characters it replaces, and a description."""
        name, space, argument = text.partition(" ")
        if not text.startswith("/"):
            return
        if not space:
            for command, help_ in _COMMANDS.items():
                if command.startswith(name[1:]):
                    yield f"/{command}", len(text), help_
        elif name == "/model":
            for model in self._models:
                if model.startswith(argument):
                    yield model, len(argument), ""


def _role_and_content(message: Any) -> tuple[str, str]:
    if isinstance(message, Mapping):
        return str(message.get("role")), str(message.get("content") or "")
    return str(message.role), message.content or ""


def _as_markdown(messages: Iterable[Any]) -> Iterator[str]:
    names = {"system": "System", "user": "You", "assistant": "GigaChat"}
    for message in messages:
        role, content = _role_and_content(message)
        yield f"**{names.get(role, role)}:**\n\n{content.strip()}\n"


def _prompt_session(complete: Callable[[str], Iterator[tuple[str, int, str]]]) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    class Completions(Completer):
        """Completion of commands and models."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            """Complete the text before the cursor."""
            for text, replaced, help_ in complete(document.text_before_cursor):
                yield Completion(text, start_position=-replaced, display_meta=help_)

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    path = _history_file()
    history: History = InMemoryHistory() if path is None else FileHistory(str(path))
    colour = wants_colour(sys.stdout)
    return PromptSession(
        [("bold" if colour else "", "> ")],
        history=history,
        completer=Completions(),
        complete_while_typing=False,
        key_bindings=keys,
        prompt_continuation="  ",
    )


def _history_file() -> Path | None:
    """Create the private file of earlier questions; return None if that is impossible."""
    path = state_folder() / "history"
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        if sys.platform != "win32":
            path.chmod(0o600)
        return path
    return None
