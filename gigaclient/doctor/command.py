"""``gigaclient doctor``: the report on the terminal, or as JSON for programs."""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec.structs import replace

from gigaclient.cli.exit_codes import with_commands
from gigaclient.cli.layout import columns_of, wrap
from gigaclient.errors import ConfigError

if TYPE_CHECKING:
    from gigaclient.doctor.report import Report

__all__ = ["main"]

_DESCRIPTION = """\
Check the connection to GigaChat, and say what fails and what to do about it: versions, settings, the form of the key,
certificates, the proxy, addresses, TLS and the certificate issuer of each host, the token, the models, the clock. The
report contains no key, token or password, so you can paste it into a public issue.
"""
_EPILOG = """\
Settings come from GIGACHAT_* in the environment, as for GigaChat(); the key comes from GIGACHAT_CREDENTIALS or from
`gigaclient login`. Exit codes: 0 nothing failed, 1 something failed, 2 a wrong command line, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the doctor and print the report; return the exit code: 0, 1 after a failure, 130 after an interrupt.

    ``--help`` and wrong arguments raise ``SystemExit``, as in argparse.
    """
    options = _parser().parse_args(argv)
    if not _openssl_works():
        return 1
    from gigaclient.doctor.runner import examine_from  # --help does not need the network modules

    arguments: dict[str, Any] = {name: getattr(options, name) for name in _CLIENT_OPTIONS}
    sources = {name: f"--{name.replace('_', '-').removesuffix('-file')}" for name in _CLIENT_OPTIONS}
    problems: dict[str, str] = {}
    try:
        found = _credentials(options.credentials_file)
    except ConfigError as error:
        problems["credentials"] = error.message
    else:
        for name, (value, source) in found.items():
            if arguments.get(name) is None:
                arguments[name], sources[name] = value, source
    shows_progress = sys.stderr.isatty() and not options.json
    if shows_progress:
        sys.stderr.write("examining ...\r")
        sys.stderr.flush()
    try:
        report = examine_from(arguments, sources, problems=problems, chat=options.chat, seconds=options.limit)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    finally:
        if shows_progress:
            sys.stderr.write(" " * 13 + "\r")
            sys.stderr.flush()
    report = _in_terms_of_the_terminal(report)
    _write(json.dumps(report.as_dict(), ensure_ascii=False, indent=2) if options.json else _as_text(report))
    return 0 if report.healthy else 1


def _openssl_works() -> bool:
    """Return False, and print why, if OpenSSL's settings allow no TLS: then no other check can run."""
    from gigaclient.transport.tls_handshake import Context

    try:
        Context(ssl.PROTOCOL_TLS_CLIENT)
    except ConfigError as error:
        sys.stderr.write(wrap(f"gigaclient doctor: {error.message}", columns_of(sys.stderr)) + "\n")
        return False
    return True


_USUAL_COLUMNS, _MAX_COLUMNS = 80, 100
_CLIENT_OPTIONS = ("base_url", "auth_url", "scope", "model", "trust", "ca_bundle_file")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are wrapped between words."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit."""
        self.print_usage(sys.stderr)
        self.exit(2, wrap(f"{self.prog}: error: {message}", columns_of(sys.stderr)) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gigaclient doctor",
        usage="gigaclient doctor [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--chat", action="store_true", help="also ask the model for one word; costs a few tokens")
    parser.add_argument(
        "--limit",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="the time limit of one check, in seconds (default: 10)",
    )
    parser.add_argument("--credentials-file", metavar="PATH", help="a file with the authorization key")
    parser.add_argument("--base-url", metavar="URL", help="the address of the API")
    parser.add_argument("--auth-url", metavar="URL", help="the address of the OAuth host")
    parser.add_argument("--scope", help="GIGACHAT_API_PERS, GIGACHAT_API_B2B or GIGACHAT_API_CORP")
    parser.add_argument("--model", help="the model that must be available")
    parser.add_argument("--trust", metavar="TRUST", help="pinned, system, or the path of a bundle")
    parser.add_argument(
        "--ca-bundle",
        dest="ca_bundle_file",
        metavar="PATH",
        help="a file with the only certificate authorities to trust",
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError("must be a number of seconds, more than 0 and less than 3600")
    return seconds


def _credentials(path: str | None) -> dict[str, tuple[Any, str]]:
    """Return the credentials that do not come from the environment: arguments with their sources.

    Raises:
        ConfigError: a stored key cannot be read.
    """
    # Needs no package of the extra, except for a key in the system's keyring.
    from gigaclient.cli import credentials

    if path is not None:
        return {"credentials": (credentials.read_key_file(path), "--credentials-file")}
    stored = credentials.in_use()
    if stored is None:
        return {}
    source = f"gigaclient login, in {stored.description}"
    return {name: (value, source) for name, value in stored.arguments().items()}


def _in_terms_of_the_terminal(report: Report) -> Report:
    """Return the report with options and variables in place of the client's arguments."""
    checks = tuple(
        replace(check, detail=with_commands(check.detail), next_step=with_commands(check.next_step))
        for check in report.checks
    )
    return replace(report, checks=checks)


def _as_text(report: Report) -> str:
    from gigaclient.doctor.report import shows_symbols

    # A report in a file or a pipe is for an issue, and has the usual width.
    width = min(columns_of(sys.stdout), _MAX_COLUMNS) if sys.stdout.isatty() else _USUAL_COLUMNS
    return report.as_text(width=width, ascii_symbols=not shows_symbols())


def _write(text: str) -> None:
    # Names of servers and models may contain letters that the terminal cannot show.
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()
