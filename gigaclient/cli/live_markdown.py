"""Render Markdown on a terminal while it streams, about ten times a second and without flicker.

Complete blocks are written once and scroll away. Only the last block is redrawn, from its first changed line, with a
single write.
"""

from __future__ import annotations

import shutil
import threading
import time
from types import TracebackType
from typing import TextIO

from gigaclient.cli.console import printable
from gigaclient.cli.markdown import Renderer, rows_of

__all__ = ["LiveMarkdown"]

_MIN_PAUSE_SECONDS = 0.08
# The pause after a redraw, as a multiple of its duration: long blocks must not use the whole CPU.
_PAUSE_PER_DRAW = 4.0

# Terminals that support synchronized updates show the text between these at once; others ignore them.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"


class LiveMarkdown:
    """A context manager that renders Markdown as it arrives. At its end all text is on the screen.

    Args:
        stream: the terminal.
        colour: True to use colours.

    A thread draws, so that the last chunk is shown even if the next one takes long. It ends with :meth:`close`.
    """

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._renderer = Renderer(colour=colour)
        self._changed = threading.Condition()
        self._arrived: list[str] = []
        self._closed = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        # Only the drawing thread uses these; after its end, only the thread that closes.
        self._source = ""
        self._shown: list[str] = []
        self._written = 0  # lines of the growing block that are never redrawn
        self._width = 0
        self._is_plain = False

    def feed(self, text: str) -> None:
        """Add text; it is visible within a tenth of a second.

        Raises:
            OSError: the terminal is closed.
        """
        if self._failure is not None:
            raise self._failure
        if not text:
            return
        with self._changed:
            self._arrived.append(text)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._draw, name="gigaclient-markdown", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Draw the remaining text, and end with a line break."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._update(self._take_text(), final=True)

    def __enter__(self) -> LiveMarkdown:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
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
                self._update(self._take_text())
            except Exception as error:
                self._failure = error
                return
            pause = max(_MIN_PAUSE_SECONDS, _PAUSE_PER_DRAW * (time.monotonic() - began_at))

    def _take_text(self) -> str:
        with self._changed:
            text = "".join(self._arrived)
            self._arrived.clear()
        return text

    def _update(self, text: str, final: bool = False) -> None:
        if self._is_plain:
            self._write_plain(printable(text), final)
            return
        size = shutil.get_terminal_size()
        # Without the last column: terminals differ in where a full line leaves the cursor.
        width, height = max(size.columns - 1, 20), max(size.lines, 4)
        if self._width != width and self._shown:
            # The terminal has wrapped its lines again at unknown columns: leave them, and continue below.
            self._stream.write("\n")
            self._shown, self._written = [], 0
        self._width = width
        self._source += printable(text)
        try:
            blocks = self._renderer.split(self._source)
            finished, growing = blocks.finished, blocks.growing
            if final:
                finished, growing = finished + growing, []
            finished_lines = self._renderer.lines(finished, width)
            growing_lines = self._renderer.lines(growing, width)
        except Exception:
            # Deep nesting, or a bug in a library: show the text without its format.
            self._is_plain = True
            self._write([], 0)
            self._write_plain(self._source, final)
            return
        if finished and growing:
            finished_lines.append("")
        # The first lines of the growing block may be written already; they are the first of these lines.
        written, self._written = self._written, 0
        lines = (finished_lines + growing_lines)[written:]
        if not finished:
            self._written = written
        redrawn = min(len(growing_lines), len(lines))
        visible = self._fitting(lines[len(lines) - redrawn :], height - 1)
        if visible < redrawn and not blocks.grows_at_its_end:
            # Show the end of the block; the whole block is written when it is complete.
            lines = lines[: len(lines) - redrawn] + lines[len(lines) - visible :]
        elif visible < redrawn:
            if not visible:  # a growing line that is taller than the screen is written when it is complete
                redrawn -= 1
                lines.pop()
            # Code that is taller than the screen: its upper lines do not change, and may scroll away.
            self._written += redrawn - visible
        self._source = "" if final else blocks.rest
        self._write(lines, len(lines) - visible)

    def _fitting(self, lines: list[str], rows: int) -> int:
        """Return how many of the last ``lines`` fit into ``rows`` of the screen."""
        for count, line in enumerate(reversed(lines)):
            rows -= rows_of(line, self._width + 1)
            if rows < 0:
                return count
        return len(lines)

    def _write_plain(self, text: str, final: bool) -> None:
        self._stream.write(text + ("\n" if final else ""))
        self._stream.flush()

    def _write(self, lines: list[str], final_count: int) -> None:
        """Replace the shown lines by ``lines``; the first ``final_count`` of them are never redrawn."""
        unchanged = 0
        while unchanged < min(len(lines), len(self._shown)) and lines[unchanged] == self._shown[unchanged]:
            unchanged += 1
        if unchanged == len(lines) < len(self._shown):
            unchanged = max(0, unchanged - 1)  # rewrite the last line, so that the cursor is at its end
        output = ""
        if unchanged < len(self._shown):
            # The terminal wraps long lines of code, so that they can be copied whole.
            up = sum(rows_of(line, self._width + 1) for line in self._shown[unchanged:]) - 1
            output = "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"
        elif unchanged < len(lines) and self._shown:
            output = "\n"
        output += "\n".join(lines[unchanged:])
        live = lines[final_count:]
        if not live and lines:
            output += "\n"
        self._shown = live
        if output:
            self._stream.write(f"{_BEGIN}{output}{_END}")
            self._stream.flush()
