"""The commands ``gigaclient`` and ``python -m gigaclient``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gigaclient._primitives.extras import extra_is_missing
from gigaclient.cli.layout import columns_of, wrap
from gigaclient.cli.registry import COMMANDS, unknown, usage

# The extra that installs each package, for the error when a command cannot be loaded.
_EXTRAS = {"click": "cli", "rich": "cli", "prompt_toolkit": "cli"}

_COMPLETING = "_GIGACLIENT_COMPLETE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 2 for a wrong command line; see docs/en/cli.md.

    ``doctor``, ``emulator`` and ``demo`` need only their own extra; all others need ``gigaclient[cli]``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get(_COMPLETING):
        return _run_click(arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments:
        sys.stderr.write(usage())
        return 2
    name = arguments[0]
    if name in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if name in ("-V", "--version"):
        from gigaclient.version import __version__

        sys.stdout.write(f"{__version__}\n")
        return 0
    entry = COMMANDS.get(name)
    if entry is None:
        _report(f"error: {unknown(name)}\nhint: gigaclient --help lists the commands")
        return 2
    if not entry.standalone:
        return _run_click(arguments)
    try:
        run = import_module(entry.module).main
    except ImportError as error:
        return _missing(error)
    code: int = run(arguments[1:])
    return code


def _run_click(arguments: list[str]) -> int:
    try:
        from gigaclient.cli.app import run
    except ImportError as error:
        return _missing(error)
    return run(arguments)


def _report(text: str) -> None:
    sys.stderr.write((wrap(text, columns_of(sys.stderr)) if sys.stderr.isatty() else text) + "\n")


def _missing(error: ImportError) -> int:
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    if extra is not None:
        _report(f"gigaclient: {extra_is_missing('this command', error.name, extra)}")
        return 3
    if "pip install" in str(error):  # the emulator's import error already says what to install
        _report(f"gigaclient: {error}")
        return 3
    raise error


if __name__ == "__main__":
    sys.exit(main())
