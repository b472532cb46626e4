"""The checkpoint of a run over many prompts: an append-only file of JSON lines, one for each finished item.

A line is written as soon as its item is finished, so a killed process loses no finished item. :meth:`Checkpoint.sync`
protects lines against a power failure as well, many lines at once. Opening the file repairs its end.
:meth:`Checkpoint.claim` returns the lines of earlier runs, so that their items are not sent again.

The file has two kinds of lines. A result, ``{"key":"<32 hexadecimal digits>","index":17,…}``, is finished unless it has
an ``"error"``. A note, ``{"by":"gigaclient","note":…}``, is data that a job stores for itself. Any other line is kept
and ignored.

Values that JSON cannot hold are written in a form that any JSON reader accepts: NaN and infinities as null, bytes in
base64, sets as arrays, an unpaired surrogate as U+FFFD, numbers of other types as numbers. Any other object, a circular
one and one nested too deeply become the beginning of their ``str()``.
"""

from __future__ import annotations

from gigaclient.bulk.checkpoint.file import Checkpoint

__all__ = ["Checkpoint"]
