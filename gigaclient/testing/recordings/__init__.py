"""Recorded answers of the live API, and the function that reads them; ``README.md`` beside it names their origin."""

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
    """One recorded answer.

    Attributes:
        name: The file's name.
        method, uri, request_body: The request it answered.
        status, headers: As recorded.
        body: Byte for byte.
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
        """Whether the body is an event stream."""
        return self.headers.get("Content-Type", "").startswith("text/event-stream")

    @property
    def events(self) -> list[bytes]:
        """The body of a stream cut after every empty line; joined they are the body again."""
        return re.findall(rb".+?\n\n|.+\Z", self.body, re.DOTALL)


def recording_names() -> list[str]:
    """The names that :func:`recording` knows, sorted."""
    return sorted(_index())


def recording(name: str) -> Recording:
    """The recording in the file ``name``, such as ``"v1-stream.sse"``; ``KeyError`` when there is none."""
    index = _index()
    if name not in index:
        raise KeyError(f"no recording {name!r}; there are {', '.join(sorted(index))}")
    about = index[name]
    return Recording(
        name,
        about["method"],
        about["uri"],
        about["request_body"],
        about["status"],
        about["headers"],
        (resources.files(__name__) / name).read_bytes(),
    )


def _index() -> dict[str, dict[str, Any]]:
    index: dict[str, dict[str, Any]] = json.loads((resources.files(__name__) / "index.json").read_text("utf-8"))
    return index
