"""The sign of life of a terminal while an answer is prepared."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

__all__ = ["spinning"]

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SECONDS_PER_FRAME = 0.1


@contextlib.contextmanager
def spinning(stream: TextIO) -> Iterator[Callable[[], None]]:
    """Show a spinner at the cursor until the yielded function is called, or the block ends; it leaves no trace.

    A thread draws and erases it. rich's spinner stays on the screen if Ctrl-C interrupts its start.
    """
    ended = threading.Event()

    def draw() -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is closed
            for frame in itertools.cycle(_FRAMES):
                stream.write(f"\r{frame} ")
                stream.flush()
                if ended.wait(_SECONDS_PER_FRAME):
                    break
            stream.write("\r  \r")
            stream.flush()

    thread = threading.Thread(target=draw, name="gigaclient-spinner", daemon=True)

    def stop() -> None:
        ended.set()
        if thread.is_alive():
            thread.join()

    try:
        thread.start()
        yield stop
    finally:
        stop()
