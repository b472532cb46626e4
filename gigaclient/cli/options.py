"""The options that commands share, and the client that they configure."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gigaclient._primitives.secret import Secret
from gigaclient.cli.console import Screen, piped_input, read_input
from gigaclient.errors import ConfigError

if TYPE_CHECKING:
    from gigaclient import FakeGpt, GigaChat

__all__ = [
    "POSITIVE",
    "Terminal",
    "combine",
    "file_text",
    "input_text",
    "model_options",
    "output_options",
    "provider_option",
    "with_client",
    "with_screen",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NO_KEY = (
    "there is no key: gigaclient login stores one, or set GIGACHAT_CREDENTIALS; gigaclient emulator runs a service "
    "that needs no key"
)


class Terminal(Screen):
    """The output, and the client made from the options and the environment.

    Args:
        json, no_color: as for :class:`~gigaclient.cli.console.Screen`.
        settings: arguments of the client that were set by options.
        credentials_file: a file that contains the key.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        no_color: bool = False,
        settings: dict[str, Any] | None = None,
        credentials_file: str | None = None,
    ) -> None:
        super().__init__(json=json, no_color=no_color)
        self.settings = settings or {}
        self._credentials_file = credentials_file

    def key_from_file(self) -> Secret | None:
        """Read the key from the file of ``--credentials-file``; return None without that option.

        Raises:
            ConfigError: the file cannot be read.
        """
        from gigaclient.cli import credentials

        return None if self._credentials_file is None else credentials.read_key_file(self._credentials_file)

    def gigachat(self) -> GigaChat:
        """Make a client of GigaChat; the caller closes it.

        Raises:
            ConfigError: there is no key, or a setting is not valid.
        """
        from gigaclient import GigaChat
        from gigaclient.cli import credentials

        arguments = dict(self.settings)
        key = self.key_from_file()
        if key is not None:
            arguments["credentials"] = key
        elif credentials.variable_in_use() is None:
            stored = credentials.stored()
            if stored is None:
                raise ConfigError(_NO_KEY)
            arguments = {**stored.arguments(), **arguments}
        return GigaChat(**arguments)

    def client(self, provider: str) -> GigaChat | FakeGpt:
        """Make a client of the service that ``--provider`` names; the caller closes it.

        Raises:
            ConfigError: as for :meth:`gigachat`.
        """
        if provider == "gigachat":
            return self.gigachat()
        from gigaclient import FakeGpt

        return FakeGpt(**self.settings)


def combine(*options: Callable[[_Function], _Function]) -> Callable[[_Function], _Function]:
    """Make one decorator of several options, which the help lists in this order."""

    def decorate(function: _Function) -> _Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


output_options: Callable[[_Function], _Function] = combine(
    click.option("--json", "as_json", is_flag=True, help="JSON for programs; errors too, on standard error."),
    click.option("--no-color", is_flag=True, help="No colours; the same as setting NO_COLOR."),
)
"""``--json`` and ``--no-color``, as ``as_json`` and ``no_color``."""

provider_option: Callable[[_Function], _Function] = click.option(
    "--provider", type=click.Choice(["gigachat", "fakegpt"]), default="gigachat", help="The service."
)

model_options: Callable[[_Function], _Function] = combine(
    click.option("-m", "--model", help="The model; gigaclient models lists them."),
    click.option("-t", "--temperature", type=click.FloatRange(min=0), help="Higher values give more varied answers."),
    click.option("--top-p", type=click.FloatRange(0, 1), help="The probability mass to sample from, 0 to 1."),
    click.option("--max-tokens", type=click.IntRange(min=1), help="The token limit of an answer."),
)
"""The options of a request that are fields of its body, under the same names."""

POSITIVE = click.FloatRange(min=0, min_open=True)

_client_options: Callable[[_Function], _Function] = combine(
    output_options,
    click.option("--timeout", type=POSITIVE, metavar="S", help="Seconds without data after which the call fails."),
    click.option("--deadline", type=POSITIVE, metavar="S", help="Seconds for the whole call, retries included."),
    click.option("--base-url", metavar="URL", help="The address of the service."),
    click.option(
        "--ca-bundle",
        "ca_bundle_file",
        type=click.Path(dir_okay=False),
        metavar="PATH",
        help="A file with the only certificate authorities to trust.",
    ),
    click.option(
        "--credentials-file",
        type=click.Path(dir_okay=False),
        metavar="PATH",
        help="A file with the authorization key; overrides the environment and a stored key.",
    ),
    click.option("--debug", is_flag=True, help="Log requests to standard error, without secrets and texts."),
)


def with_screen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` and ``--no-color``; pass a :class:`Screen` as the first argument."""

    @functools.wraps(function)
    def command(as_json: bool, no_color: bool, **options: Any) -> Any:
        return function(Screen(json=as_json, no_color=no_color), **options)

    decorated: Callable[..., Any] = output_options(command)
    return decorated


def with_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands with a client; pass a :class:`Terminal` as the first argument."""

    @functools.wraps(function)
    def command(as_json: bool, no_color: bool, credentials_file: str | None, debug: bool, **options: Any) -> Any:
        settings = {name: options.pop(name) for name in ("timeout", "deadline", "base_url", "ca_bundle_file")}
        settings = {name: value for name, value in settings.items() if value is not None}
        terminal = Terminal(json=as_json, no_color=no_color, settings=settings, credentials_file=credentials_file)
        with _debug_log(debug):
            return function(terminal, **options)

    decorated: Callable[..., Any] = _client_options(command)
    return decorated


@contextmanager
def _debug_log(debug: bool) -> Iterator[None]:
    if not debug:
        yield
        return
    logger = logging.getLogger("gigaclient")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(relativeCreated)6d ms  %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def input_text(words: tuple[str, ...]) -> list[str]:
    """Return the texts of a command line: the arguments, with ``-`` for standard input; without arguments, the pipe.

    Raises:
        click.UsageError: there is no text, or the input is not text.
    """
    if not words and not piped_input():
        raise click.UsageError("there is no text: pass it as an argument, or pipe it in")
    if words.count("-") > 1:
        raise click.UsageError("- is standard input, which can be read once")
    return [_read_stdin() if word == "-" else word for word in words or ("-",)]


def file_text(path: str) -> str:
    """Read a text file of the command line; ``~`` is the home folder.

    Raises:
        click.UsageError: it cannot be read, or is not text.
    """
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return read_input(file)
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except ValueError:
        reason = "it is not text in UTF-8"
    raise click.UsageError(f"{path}: {reason}")


def _read_stdin() -> str:
    try:
        return read_input()
    except ValueError as error:
        reason = str(error)
    raise click.UsageError(reason)
