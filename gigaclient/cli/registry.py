"""Which commands there are, without loading any: for help, for completion, and for what runs without the extra."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["COMMANDS", "Entry", "unknown", "usage"]


class Entry(NamedTuple):
    """A command.

    Attributes:
        module: where it is. It has a click command named ``command``; a standalone one has ``main(argv) -> int``.
        help: one line.
        standalone: it runs without the extra ``cli``.
    """

    module: str
    help: str
    standalone: bool = False


_HERE = "gigaclient.cli.commands"

COMMANDS: Mapping[str, Entry] = MappingProxyType(
    {
        "chat": Entry(f"{_HERE}.chat", "ask a question, or talk; reads a pipe as well"),
        "models": Entry(f"{_HERE}.models", "the models that your key may use"),
        "balance": Entry(f"{_HERE}.balance", "the tokens that are left"),
        "embed": Entry(f"{_HERE}.embed", "the vectors of texts"),
        "tokens": Entry(f"{_HERE}.tokens", "how many tokens a text is"),
        "files": Entry(f"{_HERE}.files", "list, upload, download and delete files"),
        "map": Entry(f"{_HERE}.map", "ask a question of each line of a file"),
        "batch": Entry(f"{_HERE}.batch", "many requests in one file, answered later"),
        "login": Entry(f"{_HERE}.login", "store your key in the system's keyring, or in a file"),
        "logout": Entry(f"{_HERE}.logout", "forget the stored key"),
        "doctor": Entry("gigaclient.doctor.command", "what works and what does not, and what to do about it", True),
        "emulator": Entry("gigaclient.testing.command", "run both services on this machine, without a key", True),
        "demo": Entry("gigaclient.testing.demo", "both providers answer and stream", True),
        "completion": Entry(f"{_HERE}.completion", "the completion script for bash, zsh or fish"),
    }
)


def usage() -> str:
    """What ``gigaclient --help`` prints."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {entry.help}" for name, entry in COMMANDS.items())
    return (
        "usage: gigaclient COMMAND [options]\n\n"
        "GigaChat in the terminal.\n\n"
        f"commands:\n{listed}\n\n"
        "  gigaclient COMMAND --help says more; gigaclient --version prints the version.\n\n"
        "The key comes from GIGACHAT_CREDENTIALS, or from gigaclient login.\n"
    )


def unknown(name: str) -> str:
    """One sentence on a command that is none."""
    if name.startswith("-"):
        return f"options follow the command, as in: gigaclient chat {name}"
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"no such command: {name}" + (f"; did you mean {near[0]}?" if near else "")
