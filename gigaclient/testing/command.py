"""The command ``python -m gigaclient emulator``: run both emulators in the foreground until interrupted."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from gigaclient.testing.authority import Authority
from gigaclient.testing.fakegpt import FakeGptEmulator
from gigaclient.testing.gigachat import GigaChatEmulator

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Start both emulators, print shell lines with their settings, and serve until Ctrl-C or SIGTERM.

    Returns 0, or 2 after an error of the operating system, such as a port in use. ``--help`` and wrong arguments exit
    as argparse does.
    """
    options = _parser().parse_args(argv)
    with Authority() as authority, _interruptible() as interrupted:
        gigachat = GigaChatEmulator(
            authority=authority,
            port=options.port,
            auth_port=options.auth_port,
            token_life_s=options.token_life,
            event_pause_s=options.event_pause,
            max_streams=options.max_streams,
        )
        fakegpt = FakeGptEmulator(authority=authority, port=options.fakegpt_port, event_pause_s=options.event_pause)
        try:
            with gigachat, fakegpt:
                ca_file = authority.ca_file
                if options.ca_file is not None:
                    ca_file = os.path.abspath(shutil.copyfile(authority.ca_file, options.ca_file))
                _announce(gigachat, fakegpt, ca_file)
                # With a timeout: on some systems a wait without one cannot be interrupted.
                while not interrupted.wait(0.5):
                    continue
        except OSError as error:
            sys.stderr.write(f"the emulator could not start: {error}\n")
            return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gigaclient emulator",
        description="GigaChat and FakeGpt on 127.0.0.1, over HTTPS, without a key. Prints the environment to use.",
    )
    parser.add_argument("--port", type=int, default=0, help="port of the GigaChat API (default: a free one)")
    parser.add_argument("--auth-port", type=int, default=0, help="port of the OAuth endpoint (default: a free one)")
    parser.add_argument("--fakegpt-port", type=int, default=0, help="port of FakeGpt (default: a free one)")
    parser.add_argument("--ca-file", metavar="PATH", help="write the certificate to trust to this file as well")
    parser.add_argument("--token-life", type=float, default=1800.0, metavar="S", help="seconds until a token expires")
    parser.add_argument("--event-pause", type=float, default=0.0, metavar="S", help="seconds between stream events")
    parser.add_argument("--max-streams", type=int, metavar="N", help="answers at once for one key; one more is a 429")
    return parser


def _announce(gigachat: GigaChatEmulator, fakegpt: FakeGptEmulator, ca_file: str) -> None:
    environment = {
        **gigachat.environment,
        "GIGACHAT_CA_BUNDLE_FILE": ca_file,
        "FAKEGPT_BASE_URL": fakegpt.base_url,
        "FAKEGPT_CA_BUNDLE_FILE": ca_file,
    }
    sys.stdout.write("# The emulator is running until you press Ctrl-C. In another shell:\n")
    sys.stdout.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    sys.stdout.flush()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; restore the previous handlers at the end."""
    interrupted = threading.Event()

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        interrupted.set()

    # Only the main thread can handle signals. Elsewhere (a test, a notebook) a KeyboardInterrupt of the caller ends it.
    previous_handlers = {}
    if threading.current_thread() is threading.main_thread():
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            previous_handlers[signal_number] = signal.signal(signal_number, interrupt)
    try:
        yield interrupted
    except KeyboardInterrupt:
        interrupted.set()
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)
