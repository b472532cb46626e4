"""The list of commands. It imports none of them: for help, completion, and commands that need no extra."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from gigaclient.cli.layout import columns_of, wrap

__all__ = ["COMMANDS", "Entry", "unknown", "usage"]


class Entry(NamedTuple):
    """A command.

    Attributes:
        module: the module with a click command named ``command``, or for a standalone one ``main(argv) -> int``.
        help: one line.
        standalone: True when it runs without the extra ``cli``.
    """

    module: str
    help: str
    standalone: bool = False


_COMMANDS_PACKAGE = "gigaclient.cli.commands"

COMMANDS: Mapping[str, Entry] = MappingProxyType(
    {
        "chat": Entry(f"{_COMMANDS_PACKAGE}.chat", "ask one question or hold a conversation; also reads a pipe"),
        "models": Entry(f"{_COMMANDS_PACKAGE}.models", "list the models that your key can use"),
        "balance": Entry(f"{_COMMANDS_PACKAGE}.balance", "show the remaining tokens"),
        "embed": Entry(f"{_COMMANDS_PACKAGE}.embed", "compute the embeddings of texts"),
        "tokens": Entry(f"{_COMMANDS_PACKAGE}.tokens", "count the tokens of texts"),
        "files": Entry(f"{_COMMANDS_PACKAGE}.files", "list, upload, download and delete files"),
        "map": Entry(f"{_COMMANDS_PACKAGE}.map", "ask a question for each line of a file, many at a time"),
        "batch": Entry(f"{_COMMANDS_PACKAGE}.batch", "send many requests as one file and get the answers later"),
        "login": Entry(f"{_COMMANDS_PACKAGE}.login", "store your key in the system's keyring, or in a file"),
        "logout": Entry(f"{_COMMANDS_PACKAGE}.logout", "delete the stored key"),
        "doctor": Entry("gigaclient.doctor.command", "check the connection and show the next step", True),
        "emulator": Entry("gigaclient.testing.command", "run both services on this machine, without a key", True),
        "demo": Entry("gigaclient.testing.demo", "show answers and streams of both providers", True),
        "completion": Entry(f"{_COMMANDS_PACKAGE}.completion", "print the completion script for bash, zsh or fish"),
    }
)


def usage() -> str:
    """Return the text of ``gigaclient --help``."""
    width = max(map(len, COMMANDS))
    columns = columns_of(sys.stdout)
    margin = " " * (width + 4)
    listed = [wrap(entry.help, columns, first=f"  {name:<{width}}  ", rest=margin) for name, entry in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gigaclient COMMAND [options]\n",
            "GigaChat in the terminal.\n",
            "commands:",
            *listed,
            "",
            wrap(
                "gigaclient COMMAND --help says more; gigaclient --version prints the version.",
                columns,
                first="  ",
                rest="  ",
            ),
            "",
            wrap("The key comes from GIGACHAT_CREDENTIALS, or from gigaclient login.\n", columns),
        ]
    )


def unknown(name: str) -> str:
    """Return the error message for an unknown command."""
    if name.startswith("-"):
        return f"options follow the command, as in: gigaclient chat {name}"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"no such command: {name}" + (f"; did you mean {near[0]}?" if near else "")
