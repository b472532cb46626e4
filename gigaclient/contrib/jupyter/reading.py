"""Read a stream to its end and show the answer as it arrives, in a notebook or in a terminal."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any, Literal, TextIO

from gigaclient.contrib.jupyter.outputs import GrowingText
from gigaclient.contrib.stream_reader import Readable
from gigaclient.errors import GigaClientError

__all__ = ["note_of", "read_in_notebook", "read_in_terminal"]

# Ctrl-C cannot interrupt a wait for a lock on Windows, so each wait is short.
_MAX_WAIT_SECONDS = 0.25
_JOIN_TIMEOUT_SECONDS = 5.0

_NOTES = {
    "length": "cut at the token limit",
    "max_tokens": "cut at the token limit",
    "error": "the service broke off",
}


def read_in_notebook(stream: Readable, shown: GrowingText) -> Literal["ended", "interrupted"]:
    """Show the answer while it arrives. In the end all text received is shown and the stream is closed, in all cases.

    A second thread reads the stream, so that this one can show text during a pause of the service, and can be
    interrupted on every system. That thread ends with the stream.

    Raises:
        GigaClientError: the stream failed; the text received so far is shown with a note.
    """
    arrived: queue.SimpleQueue[_Arrival] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(stream, arrived), name="gigaclient-notebook", daemon=True)
    failure: BaseException | None = None
    try:
        reader.start()
        behind = False  # True if a chunk arrived that is not shown yet
        progress = ""
        while True:
            try:
                wait = min(shown.wait_seconds, _MAX_WAIT_SECONDS) if behind else _MAX_WAIT_SECONDS
                arrival = arrived.get(timeout=wait) if wait > 0 else arrived.get_nowait()
            except queue.Empty:
                if behind and shown.wait_seconds <= 0:
                    shown.show(stream.text, progress)
                    behind = False
                continue
            if not isinstance(arrival, str):
                failure = arrival.failure
                break
            behind, progress = True, arrival
            if shown.wait_seconds <= 0:
                shown.show(stream.text, progress)
                behind = False
    except KeyboardInterrupt:
        # Ends the read that the other thread is blocked in.
        stream.close()
        reader.join(_JOIN_TIMEOUT_SECONDS)
        shown.finish(stream.text, "interrupted")
        return "interrupted"
    except BaseException:
        stream.close()
        raise
    reader.join(_JOIN_TIMEOUT_SECONDS)
    if failure is not None:
        stream.close()
        if stream.text:
            shown.finish(stream.text, "incomplete")
        raise failure
    shown.finish(stream.text, note_of(stream.completion))
    return "ended"


class _End:
    """The end of the stream: normal, or with ``failure``."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure


_Arrival = str | _End


def _read(stream: Readable, arrived: queue.SimpleQueue[_Arrival]) -> None:
    try:
        for chunk in stream:
            arrived.put(_progress_of(chunk))
    except BaseException as error:  # the other thread raises it
        arrived.put(_End(error))
    else:
        arrived.put(_End())


def _progress_of(chunk: Any) -> str:
    """Return the progress message of a function that the service runs; empty for a chunk of text."""
    for choice in getattr(chunk, "choices", None) or ():
        delta = getattr(choice, "delta", None)
        if delta is not None and delta.role == "function_in_progress":
            return str(delta.content or "").strip().replace("*", "").replace("\n", " ")[:200]
    return ""


def read_in_terminal(stream: Readable, out: TextIO | None = None) -> Literal["ended", "interrupted"]:
    """Print the answer while it arrives.

    Raises:
        GigaClientError: the stream failed; the text received so far is printed with a note.
    """
    out = sys.stdout if out is None else out
    try:
        for chunk in stream:
            if chunk.text:
                out.write(chunk.text)
                out.flush()
    except KeyboardInterrupt:
        stream.close()
        out.write("\n(interrupted)\n")
        return "interrupted"
    except GigaClientError:
        if stream.text:
            out.write("\n(incomplete)\n")
        raise
    finally:
        stream.close()
        out.flush()
    note = note_of(stream.completion)
    out.write(f"\n({note})\n" if note else "\n")
    return "ended"


def note_of(completion: Any) -> str:
    """Return a note on an answer that ended early or is empty; an empty string for a normal answer."""
    if getattr(completion, "blocked", False):
        return "held back by the service's filter"
    note = _NOTES.get(str(getattr(completion, "finish_reason", None)), "")
    call = getattr(completion, "function_call", None)
    if not note and call is not None:
        note = f"the model wants the function {getattr(call, 'name', '')} called".replace("*", "")
    if not note and not getattr(completion, "text", ""):
        note = "the answer is empty"
    return note
