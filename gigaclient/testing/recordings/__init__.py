"""Recorded responses of the real API, and the function that reads them. ``README.md`` names their origin."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

__all__ = ["Recording", "recording", "recording_names"]


@dataclass(frozen=True)
class Recording:
    """One recorded response.

    Attributes:
        name: The file's name.
        method, uri, request_body: The request.
        status, headers: The recorded status and headers.
        body: The recorded body, byte for byte.
    """

    name: str
    method: str
    uri: str
    request_body: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_stream(self) -> bool:
        """True for an event stream."""
        return self.headers.get("Content-Type", "").startswith("text/event-stream")

    @property
    def events(self) -> list[bytes]:
        """The body of a stream, split after every empty line."""
        return re.findall(rb".+?\n\n|.+\Z", self.body, re.DOTALL)


def recording_names() -> list[str]:
    """Return the names of all recordings, sorted."""
    return sorted(_index())


def recording(name: str) -> Recording:
    """Read the recording ``name``, such as ``"v1-stream.sse"``; raise ``KeyError`` for an unknown name."""
    index = _index()
    if name not in index:
        raise KeyError(f"no recording {name!r}; there are {', '.join(sorted(index))}")
    entry = index[name]
    return Recording(
        name,
        entry["method"],
        entry["uri"],
        entry["request_body"],
        entry["status"],
        entry["headers"],
        (resources.files(__name__) / name).read_bytes(),
    )


def _index() -> dict[str, dict[str, Any]]:
    index: dict[str, dict[str, Any]] = json.loads((resources.files(__name__) / "index.json").read_text("utf-8"))
    return index
