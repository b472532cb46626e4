"""The click application: its commands, loaded one by one, and what becomes of errors."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, TextIO

import click

from gigaclient.cli import exit_codes as exits
from gigaclient.cli.console import Screen, is_terminal, speak_utf8, write_json
from gigaclient.cli.registry import COMMANDS, Entry, unknown
from gigaclient.errors import GigaClientError

__all__ = ["COMPLETION_VARIABLE", "PROGRAM", "Application", "run"]

PROGRAM = "gigaclient"
COMPLETION_VARIABLE = "_GIGACLIENT_COMPLETE"

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Application(click.Group):
    """Commands by name; a module is loaded when its command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        if entry.standalone:
            return _standalone(cmd_name, entry)
        command: click.Command = import_module(entry.module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.UsageError(unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _standalone(name: str, entry: Entry) -> click.Command:
    """For completion; run, they never come here."""

    def refer() -> None:
        raise click.UsageError(f"run it as: {PROGRAM} {name}")

    return click.Command(name, callback=refer, short_help=entry.help, add_help_option=False)


_application = Application(PROGRAM, context_settings=_SETTINGS)


def run(arguments: Sequence[str]) -> int:
    """Run one command to its end; returns the exit code. What goes wrong is told on standard error."""
    speak_utf8()
    given = [_text(argument) for argument in arguments]
    screen = Screen(json="--json" in given, no_color="--no-color" in given)
    try:
        with _short_warnings(screen):
            code = _run(given)
        sys.stdout.flush()
        return code
    except click.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        return _say_usage(screen, error)
    except GigaClientError as error:
        _say(screen, error)
        return exits.code_of(error)
    except KeyboardInterrupt:
        if is_terminal(sys.stderr):
            sys.stderr.write("\n")
        return exits.INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE or isinstance(error, BrokenPipeError):
            _abandon(sys.stdout)
            return exits.BROKEN_PIPE
        # Also the disk that is full, whose bytes must not be tried again at the interpreter's end.
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            _abandon(sys.stdout)
        _say(screen, error)
        return exits.FAILED


def _run(arguments: list[str]) -> int:
    if os.environ.get(COMPLETION_VARIABLE):
        # Ends the process itself.
        _application.main(arguments, prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE)
    try:
        with _application.make_context(PROGRAM, arguments) as context:
            result: Any = _application.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return result if isinstance(result, int) else exits.OK


def _text(argument: str) -> str:
    # Bytes that the locale's encoding did not know are UTF-8 all the same.
    with contextlib.suppress(UnicodeError):
        return os.fsencode(argument).decode("utf-8")
    return argument


def _say_usage(screen: Screen, error: click.ClickException) -> int:
    code = exits.USAGE if isinstance(error, click.UsageError) else exits.FAILED
    message = error.format_message()
    if screen.json:
        write_json(sys.stderr, {"error": {"type": type(error).__name__, "message": message, "exit_code": code}})
        return code
    context = getattr(error, "ctx", None)
    hint = None
    if context is not None and context.command.get_help_option(context) is not None:
        hint = f"{context.command_path} --help"
    screen.error(message, hint)
    return code


def _say(screen: Screen, error: Exception) -> None:
    with contextlib.suppress(OSError):
        if screen.json:
            write_json(sys.stderr, exits.as_json(error))
        else:
            screen.error(exits.in_commands(str(error)), exits.hint_for(error))


def _abandon(stream: TextIO) -> None:
    """Nobody reads it any more: let the interpreter's last flush go nowhere instead of complaining."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


@contextlib.contextmanager
def _short_warnings(screen: Screen) -> Iterator[None]:
    """Our own warnings, such as that certificates are not checked, as one line without a source file."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UserWarning):
            screen.warning(str(message))

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.showwarning = show
        yield
