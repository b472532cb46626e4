"""``gigaclient`` and ``python -m gigaclient``: the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

_USAGE = """\
usage: gigaclient COMMAND [options]

commands:
  demo       both providers answer and stream, against an emulator; against GigaChat when GIGACHAT_CREDENTIALS is set
  emulator   run the emulator of both services and print how to point a client at it

  gigaclient COMMAND --help says more.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 for success, 2 for a wrong command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from gigaclient.version import __version__

        print(__version__)
        return 0
    command = _command(arguments[0])
    if command is None:
        print(f"gigaclient: no such command: {arguments[0]}\n\n{_USAGE}", end="", file=sys.stderr)
        return 2
    return command(arguments[1:])


def _command(name: str) -> Callable[[Sequence[str]], int] | None:
    # Each command imports what it needs when it is asked for: the emulator's packages are an extra.
    if name == "demo":
        from gigaclient.demo import main as demo

        return demo
    if name == "emulator":
        from gigaclient.testing.command import main as emulator

        return emulator
    return None


if __name__ == "__main__":
    sys.exit(main())
