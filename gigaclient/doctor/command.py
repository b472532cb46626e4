"""``gigaclient doctor``: the report on the terminal, or as JSON for programs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from gigaclient._primitives.secret import Secret
from gigaclient.errors import ConfigError

__all__ = ["main"]

_MAX_KEY_BYTES = 64 * 1024

_DESCRIPTION = """\
Say what works between this machine and GigaChat and what does not, and what to do about it: versions, settings, the
key's form, certificates, the proxy, addresses, TLS with the issuer met at each host, the token, the models, the clock.
The report holds no key, token or password: it may be pasted into a public issue.
"""
_EPILOG = """\
Settings come from GIGACHAT_* in the environment, as for GigaChat(); the key comes from GIGACHAT_CREDENTIALS or from
`gigaclient login`. Exit codes: 0 nothing failed, 1 something did, 2 a wrong command line, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Examine and print; returns 0 when nothing failed, 1 when something did, 130 when it was interrupted.

    ``--help`` and wrong arguments exit as argparse does.
    """
    options = _parser().parse_args(argv)
    from gigaclient.doctor.runner import examine_from  # the wire is not needed for --help

    arguments: dict[str, Any] = {name: getattr(options, name) for name in _CLIENT_OPTIONS}
    sources = {name: f"--{name.replace('_', '-').removesuffix('-file')}" for name in _CLIENT_OPTIONS}
    problems: dict[str, str] = {}
    try:
        found = _key(options.credentials_file)
    except ConfigError as error:
        problems["credentials"] = error.message
    else:
        for name, (value, source) in found.items():
            if arguments.get(name) is None:
                arguments[name], sources[name] = value, source
    waits = sys.stderr.isatty() and not options.json
    if waits:
        sys.stderr.write("examining ...\r")
        sys.stderr.flush()
    try:
        report = examine_from(arguments, sources, problems=problems, chat=options.chat, seconds=options.limit)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    finally:
        if waits:
            sys.stderr.write(" " * 13 + "\r")
            sys.stderr.flush()
    _write(json.dumps(report.as_dict(), ensure_ascii=False, indent=2) if options.json else str(report))
    return 0 if report.healthy else 1


_CLIENT_OPTIONS = ("base_url", "auth_url", "scope", "model", "trust", "ca_bundle_file")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gigaclient doctor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--chat", action="store_true", help="have the model say a word, too: costs a few tokens")
    parser.add_argument(
        "--limit", type=_seconds, default=10.0, metavar="S", help="seconds that a check may take (default: 10)"
    )
    parser.add_argument("--credentials-file", metavar="PATH", help="a file that holds the authorization key")
    parser.add_argument("--base-url", metavar="URL", help="the API")
    parser.add_argument("--auth-url", metavar="URL", help="the OAuth host")
    parser.add_argument("--scope", help="GIGACHAT_API_PERS, GIGACHAT_API_B2B or GIGACHAT_API_CORP")
    parser.add_argument("--model", help="the model that has to be there")
    parser.add_argument("--trust", metavar="WHOM", help="pinned, system, or the path of a bundle")
    parser.add_argument("--ca-bundle", dest="ca_bundle_file", metavar="PATH", help="a bundle to believe exactly")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError("must be a number of seconds, more than 0 and less than 3600")
    return seconds


def _key(path: str | None) -> dict[str, tuple[Any, str]]:
    """What says who we are, where the environment does not: arguments with their sources.

    Raises:
        ConfigError: there is a key, and it cannot be had.
    """
    if path is not None:
        return {"credentials": (_key_in(path), "--credentials-file")}
    # Needs none of the terminal's packages but for a key in the system's keyring.
    from gigaclient.cli import credentials

    if credentials.variable_in_use() is not None:
        return {}
    stored = credentials.stored()
    if stored is None:
        return {}
    source = f"gigaclient login, in {stored.description}"
    found: dict[str, tuple[Any, str]] = {"credentials": (stored.credentials, source)}
    if not os.environ.get("GIGACHAT_SCOPE", "").strip():
        found["scope"] = (stored.scope, source)
    return found


def _key_in(path: str) -> Secret:
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            return Secret(file.read(_MAX_KEY_BYTES).strip())
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
    except UnicodeDecodeError:
        reason = "it is not text"
    raise ConfigError(f"--credentials-file {path} cannot be read: {reason}")


def _write(text: str) -> None:
    # A server may be called what the terminal cannot show.
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()
