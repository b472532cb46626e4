"""The click application: it loads one command and turns errors into messages and exit codes."""

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

from gigaclient.cli import exit_codes
from gigaclient.cli.console import Screen, is_terminal, use_utf8, write_json
from gigaclient.cli.help import HelpContext
from gigaclient.cli.registry import COMMANDS, Entry, unknown
from gigaclient.errors import GigaClientError

__all__ = ["COMPLETION_VARIABLE", "PROGRAM", "Application", "run"]

PROGRAM = "gigaclient"
COMPLETION_VARIABLE = "_GIGACLIENT_COMPLETE"

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Application(click.Group):
    """The group of all commands. It imports the module of a command only when the command is used."""

    context_class = HelpContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None for an unknown name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        if entry.standalone:
            return _placeholder(cmd_name, entry)
        command: click.Command = import_module(entry.module).command
        for each in (command, *getattr(command, "commands", {}).values()):
            each.context_class = HelpContext
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest a similar name for an unknown one."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.UsageError(unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _placeholder(name: str, entry: Entry) -> click.Command:
    """Make a placeholder for shell completion. ``gigaclient.__main__`` runs these commands itself."""

    def fail() -> None:
        raise click.UsageError(f"run it as: {PROGRAM} {name}")

    return click.Command(name, callback=fail, short_help=entry.help, add_help_option=False)


_application = Application(PROGRAM, context_settings=_SETTINGS)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code. Errors go to standard error."""
    use_utf8()
    arguments = [_decode_argument(argument) for argument in arguments]
    screen = Screen(json="--json" in arguments, no_color="--no-color" in arguments)
    try:
        with _short_warnings(screen):
            code = _run(arguments)
        sys.stdout.flush()
        return code
    except click.Abort:
        return exit_codes.INTERRUPTED
    except click.ClickException as error:
        return _report_usage_error(screen, error)
    except GigaClientError as error:
        _report_error(screen, error)
        return exit_codes.code_of(error)
    except KeyboardInterrupt:
        if is_terminal(sys.stderr):
            sys.stderr.write("\n")
        return exit_codes.INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE or isinstance(error, BrokenPipeError):
            _discard(sys.stdout)
            return exit_codes.BROKEN_PIPE
        # For example a full disk. The interpreter must not write the rest again when it exits.
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            _discard(sys.stdout)
        _report_error(screen, error)
        return exit_codes.FAILED


def _run(arguments: Sequence[str]) -> int:
    if os.environ.get(COMPLETION_VARIABLE):
        # click exits the process here.
        _application.main(list(arguments), prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE)
    try:
        with _application.make_context(PROGRAM, list(arguments)) as context:
            result: Any = _application.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return result if isinstance(result, int) else exit_codes.OK


def _decode_argument(argument: str) -> str:
    # Shells pass UTF-8 even when the locale has another encoding.
    with contextlib.suppress(UnicodeError):
        return os.fsencode(argument).decode("utf-8")
    return argument


def _report_usage_error(screen: Screen, error: click.ClickException) -> int:
    code = exit_codes.USAGE if isinstance(error, click.UsageError) else exit_codes.FAILED
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


def _report_error(screen: Screen, error: Exception) -> None:
    with contextlib.suppress(OSError):
        if screen.json:
            write_json(sys.stderr, exit_codes.as_json(error))
        else:
            screen.error(exit_codes.with_commands(str(error)), exit_codes.hint_for(error))


def _discard(stream: TextIO) -> None:
    """Redirect ``stream`` to the null device, so that the flush at exit does not fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


@contextlib.contextmanager
def _short_warnings(screen: Screen) -> Iterator[None]:
    """Print each UserWarning on one line, without the source file; drop other warnings, unless -W is set."""

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
