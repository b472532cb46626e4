"""Text on a terminal while it comes: Markdown that is drawn anew about ten times a second, and never flickers.

What is finished scrolls away for good. Only the block that still grows is drawn again, from the first of its lines that
has changed, and all of it in one write.
"""

from __future__ import annotations

import shutil
import threading
import time
from types import TracebackType
from typing import TextIO

from gigaclient.cli.console import printable
from gigaclient.cli.markdown import Renderer

__all__ = ["LiveMarkdown"]

_SECONDS_BETWEEN = 0.08
# Drawing takes no more than this part of the time, however long a block gets.
_SHARE = 4.0

# Terminals that know these show what is between them at once; the others pass over them.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"


class LiveMarkdown:
    """Draws Markdown as it arrives. A context manager: at its end everything that came is on the screen.

    Args:
        stream: the terminal.
        colour: whether to use colours.

    A thread of its own draws, so that the last words are not held back while the next ones are long in coming; it ends
    with :meth:`close`.
    """

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._renderer = Renderer(colour=colour)
        self._changed = threading.Condition()
        self._arrived: list[str] = []
        self._closed = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        # The drawing thread's own, and after its end the closing one's.
        self._source = ""
        self._shown: list[str] = []
        self._settled = 0
        self._width = 0
        self._as_it_is = False

    def feed(self, text: str) -> None:
        """Take more text; it is seen within a tenth of a second.

        Raises:
            OSError: the terminal is gone.
        """
        if self._failure is not None:
            raise self._failure
        if not text:
            return
        with self._changed:
            self._arrived.append(text)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._draw, name="gigaclient-painter", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Draw all that came, for good, and end on a line of its own."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._paint(self._taken(), final=True)

    def __enter__(self) -> LiveMarkdown:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- drawing -----------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause)
                self._changed.wait_for(lambda: self._closed or self._arrived)
                if self._closed:
                    return
            began_at = time.monotonic()
            try:
                self._paint(self._taken())
            except Exception as error:
                self._failure = error
                return
            pause = max(_SECONDS_BETWEEN, _SHARE * (time.monotonic() - began_at))

    def _taken(self) -> str:
        with self._changed:
            taken = "".join(self._arrived)
            self._arrived.clear()
        return taken

    def _paint(self, text: str, final: bool = False) -> None:
        if self._as_it_is:
            self._write_as_it_is(printable(text), final)
            return
        size = shutil.get_terminal_size()
        # Not the last column: terminals differ in what a full line does to the cursor.
        width, height = max(size.columns - 1, 20), max(size.lines, 4)
        if self._width != width and self._shown:
            # The terminal has broken its lines anew, and nobody knows where: leave them, and go on below.
            self._stream.write("\n")
            self._shown, self._settled = [], 0
        self._width = width
        self._source += printable(text)
        try:
            blocks = self._renderer.split(self._source)
            finished, growing = blocks.finished, blocks.growing
            if final:
                finished, growing = finished + growing, []
            fixed = self._renderer.lines(finished, width)
            live = self._renderer.lines(growing, width)
        except Exception:
            # Nested too deep, or a fault of a library: the words count, and not how they look.
            self._as_it_is = True
            self._write([], 0)
            self._write_as_it_is(self._source, final)
            return
        if finished and growing:
            fixed.append("")
        # The growing block's first lines may be settled already; they belong to the first of what is drawn now.
        skipped, self._settled = self._settled, 0
        lines = (fixed + live)[skipped:]
        if not finished:
            self._settled = skipped
        live_count = min(len(live), len(lines))
        most = height - 1
        if live_count > most and blocks.grows_at_its_end and not final:
            # Code that is taller than the screen: its upper lines will not change, and may scroll away.
            self._settled += live_count - most
            live_count = most
        elif live_count > most:
            # Its end is what is being written; the whole is drawn when it is finished.
            lines = lines[: len(lines) - live_count] + lines[-most:]
            live_count = most
        self._source = "" if final else blocks.rest
        self._write(lines, len(lines) - live_count)

    def _write_as_it_is(self, text: str, final: bool) -> None:
        self._stream.write(text + ("\n" if final else ""))
        self._stream.flush()

    def _write(self, lines: list[str], settled: int) -> None:
        """Draw ``lines`` in place of what is shown; the first ``settled`` of them for good."""
        same = 0
        while same < min(len(lines), len(self._shown)) and lines[same] == self._shown[same]:
            same += 1
        if same == len(lines) < len(self._shown):
            same = max(0, same - 1)  # the cursor belongs at the end of the last line, so that one is written again
        output = ""
        if same < len(self._shown):
            up = len(self._shown) - 1 - same
            output = "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"
        elif same < len(lines) and self._shown:
            output = "\n"
        output += "\n".join(lines[same:])
        live = lines[settled:]
        if not live and lines:
            output += "\n"
        self._shown = live
        if output:
            self._stream.write(f"{_BEGIN}{output}{_END}")
            self._stream.flush()
