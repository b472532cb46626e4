"""``%giga``, ``%%giga`` and ``%giga_login``: the part that needs IPython."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import IPython.display
from IPython.core.magic import needs_local_scope, no_var_expand

from gigaclient.cli import credentials
from gigaclient.contrib.jupyter.key import log_in
from gigaclient.contrib.jupyter.lists import ListFormatters
from gigaclient.contrib.jupyter.notebook import Notebook, current
from gigaclient.contrib.jupyter.options import LOGIN_USAGE, USAGE, GigaOptions, fill_in, parse_giga, parse_login
from gigaclient.contrib.jupyter.outputs import GrowingText
from gigaclient.contrib.jupyter.reading import read_in_notebook, read_in_terminal
from gigaclient.contrib.jupyter.tracebacks import ShortTracebacks, sentence_of, wants_all_frames
from gigaclient.contrib.stream_reader import Readable
from gigaclient.errors import AuthenticationError, ConfigError, GigaClientError

__all__ = ["Magics", "display", "in_cell"]

display: Any = IPython.display.display
"""Show an object in the current cell; typed here, because IPython has no types."""


def _can_show(shell: Any) -> bool:
    """Return True for a kernel, whose front end shows Markdown and replaces outputs; False for a terminal."""
    return getattr(shell, "kernel", None) is not None


def in_cell(stream: Readable, shell: Any) -> Literal["ended", "interrupted"]:
    """Show the answer in the current cell while it arrives; return ``"ended"`` or ``"interrupted"``."""
    if _can_show(shell):
        return read_in_notebook(stream, GrowingText(partial(_publish, shell)))
    return read_in_terminal(stream)


def _publish(shell: Any, name: str, data: dict[str, str], *, update: bool) -> None:
    shell.display_pub.publish(data, transient={"display_id": name}, update=update)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


class CellError(Exception):
    """An error of gigaclient in a magic: the cell shows it as one sentence, and counts as failed.

    ``__cause__`` is the error itself. After ``%xmode Verbose`` all frames are shown.
    """

    _render: Callable[[], list[str]]

    def _render_traceback_(self) -> list[str]:
        return self._render()


class _Stopped(KeyboardInterrupt):
    """Ends a cell that sends another question after an interrupt, in a loop for example."""

    def _render_traceback_(self) -> list[str]:
        return ["interrupted"]


# IPython takes a line that ends in a question mark for a call for help on its last word.
_QUESTION = re.compile(r"(\s*)%giga[ \t]+(\S.*\?)\s*")
_TRIPLE_QUOTES = re.compile(r"\"\"\"|'''")


def questions(lines: list[str]) -> list[str]:
    """Rewrite each ``%giga`` line that ends in a question mark as a call, so that IPython does not show help."""
    if lines and lines[0].startswith("%%"):
        return lines
    changed: list[str] = []
    quotes = 0
    for line in lines:
        match = _QUESTION.fullmatch(line) if quotes % 2 == 0 else None
        quotes += len(_TRIPLE_QUOTES.findall(line)) if match is None else 0
        changed.append(line if match is None else f"{match[1]}get_ipython().run_line_magic('giga', {match[2]!r})\n")
    return changed


class Magics:
    """The magics of one shell.

    Args:
        shell: the shell that :meth:`register` registers them with.
        notebook: their client and dialogue.
    """

    def __init__(self, shell: Any, notebook: Notebook | None = None) -> None:
        self._shell = shell
        self._notebook = notebook if notebook is not None else current()
        self._tracebacks = ShortTracebacks(shell)
        self._lists = ListFormatters(shell)
        self._interrupted = False

    def register(self) -> None:
        """Register the magics with the shell."""
        self._shell.register_magic_function(self.giga, magic_kind="line_cell", magic_name="giga")
        self._shell.register_magic_function(self.giga_login, magic_kind="line", magic_name="giga_login")
        self._shell.events.register("post_run_cell", self._after_cell)
        self._shell.input_transformers_cleanup.append(questions)
        self._tracebacks.install()
        self._lists.install()

    def unregister(self) -> None:
        """Remove the magics from the shell, and close the client if it was made here."""
        magics = self._shell.magics_manager.magics
        for kind, name in (("line", "giga"), ("cell", "giga"), ("line", "giga_login")):
            magics[kind].pop(name, None)
        # They may have been removed already.
        with contextlib.suppress(ValueError):
            self._shell.events.unregister("post_run_cell", self._after_cell)
        with contextlib.suppress(ValueError):
            self._shell.input_transformers_cleanup.remove(questions)
        self._tracebacks.remove()
        self._lists.remove()
        self._notebook.reset()
        self._notebook.close()

    # IPython must not fill in variables: only -f does.
    @no_var_expand
    @needs_local_scope
    def giga(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> None:
        """Run ``%giga`` or ``%%giga``."""
        self._run_with_short_errors(lambda: self._giga(line, cell, ChainMap(dict(local_ns or {}), self._shell.user_ns)))

    giga.__doc__ = USAGE

    @no_var_expand
    def giga_login(self, line: str) -> None:
        """Run ``%giga_login``."""
        self._run_with_short_errors(lambda: self._giga_login(line))

    giga_login.__doc__ = LOGIN_USAGE

    def _giga(self, line: str, cell: str | None, variables: Mapping[str, Any]) -> None:
        if self._interrupted:
            raise _Stopped
        options, text = parse_giga(line)
        if options.help:
            _print(USAGE)
            return
        if cell is not None:
            text = f"{text}\n\n{cell.strip()}".strip()
            if not text:
                raise ConfigError("the cell is empty: write the text below %%giga")
        if options.fill:
            text = fill_in(text, variables)
            options.model = fill_in(options.model, variables) if options.model else options.model
            options.system = fill_in(options.system, variables) if options.system else options.system
        options.body()  # raises for wrong values before anything is changed
        if options.reset:
            self._notebook.reset()
        if options.history:
            self._show_history(text)
        elif text:
            self._ask(text, options)
        else:
            self._set_options(options)

    def _ask(self, text: str, options: GigaOptions) -> None:
        try:
            stream = self._notebook.ask(text, options)
        except KeyboardInterrupt:
            self._interrupted = True
            _print("interrupted before the answer began")
            return
        try:
            if in_cell(stream, self._shell) == "interrupted":
                self._interrupted = True
        finally:
            # An incomplete answer is kept as well.
            if options.into:
                self._shell.user_ns[options.into] = stream.completion
        if not self._interrupted and _can_show(self._shell):
            self._show_pictures(stream.completion)

    def _show_history(self, text: str) -> None:
        if text:
            raise ConfigError("%giga --history shows the dialogue and takes no text")
        history = self._notebook.history
        if history and _can_show(self._shell):
            display(history)
        else:
            lines = [f"{message.role}: {message.content or ''}" for message in history]
            _print("\n".join(lines) or "there is no dialogue yet")

    def _show_pictures(self, completion: Any) -> None:
        if not completion.images:
            return
        try:
            for image in self._notebook.client.get_images(completion):
                display(image)
        except KeyboardInterrupt:
            self._interrupted = True

    def _set_options(self, options: GigaOptions) -> None:
        if options.into or options.alone or options.auto or options.fill:
            raise ConfigError("%giga: there is no text to ask; write it after the options")
        changes = self._notebook.set(options)
        if options.reset:
            changes.insert(0, "a new dialogue begins")
        _print("\n".join(changes or [*self._notebook.state(), "%giga --help shows all options"]))

    def _giga_login(self, line: str) -> None:
        options = parse_login(line)
        if options.help:
            _print(LOGIN_USAGE)
            return
        if options.forget:
            location = credentials.forget()
            self._notebook.close()
            _print(f"The key was removed from {location}." if location else "No key was stored.")
            return
        try:
            report = log_in(scope=options.scope, store=options.store, again=options.again)
        except KeyboardInterrupt:
            self._interrupted = True
            _print("interrupted, nothing has changed")
            return
        if options.into:
            self._shell.user_ns[options.into] = report.client
        display(report)

    def _run_with_short_errors(self, action: Callable[[], None]) -> None:
        try:
            action()
        except GigaClientError as error:
            failure = _cell_error(error, self._shell)
        else:
            return
        raise failure from failure.__cause__

    def _after_cell(self, result: Any) -> None:
        if self._interrupted:
            self._interrupted = False
            # The cell shows no error, but counts as failed: of several cells started together, the rest must not run,
            # as after any interrupt.
            if result is not None and result.error_in_exec is None:
                result.error_in_exec = KeyboardInterrupt("interrupted")


def _cell_error(error: GigaClientError, shell: Any) -> CellError:
    name, sentence = type(error).__name__, _sentence(error)
    # Front ends show the name of the class, so it must be that of the error.
    failure: CellError = type(name, (CellError,), {})(sentence)
    failure.__cause__ = error

    def render() -> list[str]:
        if wants_all_frames(shell):
            frames: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
            return frames
        return [f"{name}: {sentence}"]

    failure._render = render
    return failure


def _sentence(error: GigaClientError) -> str:
    if isinstance(error, ConfigError) and error.message.startswith("no credentials"):
        return "there is no key yet: run %giga_login, which asks for it, or set GIGACHAT_CREDENTIALS"
    refused = isinstance(error, AuthenticationError)
    return sentence_of(error, "%giga_login --again asks for another key" if refused else "")
