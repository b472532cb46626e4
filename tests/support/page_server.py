"""A server for the chat page of the tests in ``tests/browser``."""

from __future__ import annotations

import json
import mimetypes
import queue
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gigaclient.testing.fault_server import Answer, Pause, RawAnswer, RecordedRequest, Server, Step

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PAGE = CHECKOUT / "examples" / "chat_page"


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """Encode a server-sent event."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def texts(text: str) -> list[bytes]:
    """Return an event for each word of ``text``."""
    return [event({"text": word}) for word in re.findall(r"\s*\S+|\s+\Z", text)]


DONE = event(
    {"finish_reason": "stop", "model": "GigaChat-2:2.0.31.04", "usage": {"total_tokens": 1234}, "request_id": "r-1"},
    "done",
)


class PageServer:
    """Serves the page, and answers ``POST chat`` with the exact bytes of a test. A context manager."""

    models: Mapping[str, Any] | None = None
    """The answer to ``GET models``; None is a 404."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[Answer | RawAnswer] = queue.SimpleQueue()
        self._server = Server(self._serve)

    def __enter__(self) -> PageServer:
        self._server.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server at once, in the middle of answers as well."""
        self._server.close()

    @property
    def url(self) -> str:
        """The URL of the page."""
        return self._server.url + "/"

    @property
    def asked(self) -> list[RecordedRequest]:
        """The chat requests so far."""
        return [request for request in self._server.requests if request.path == "/chat"]

    @property
    def fetched(self) -> set[str]:
        """The requested paths."""
        return {request.path for request in self._server.requests}

    @property
    def aborted(self) -> int:
        """The number of answers whose reader disconnected before the end."""
        return self._server.aborted

    def next(self, *steps: Step, write_size: int | None = None) -> None:
        """Answer the next question with these steps of an event stream."""
        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        self._answers.put(Answer(200, headers, iter(steps), write_size=write_size))

    def next_text(self, text: str, *, pause_s: float = 0.0) -> None:
        """Answer the next question with this text, word by word."""
        steps: list[Step] = []
        for word in texts(text):
            steps += [word, Pause(pause_s)] if pause_s else [word]
        self.next(*steps, DONE)

    def refuse(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next question with this status; a body that is not a text is sent as JSON."""
        content_type = "text/html" if isinstance(body, str) else "application/json"
        content = body if isinstance(body, str) else json.dumps(body or {})
        self._answers.put(Answer(status, {"Content-Type": content_type, **(headers or {})}, content))

    def next_raw(self, answer: Answer | RawAnswer) -> None:
        """Answer the next question with ``answer``."""
        self._answers.put(answer)

    def _serve(self, request: RecordedRequest) -> Answer | RawAnswer:
        if request.method == "POST" and request.path == "/chat":
            try:
                return self._answers.get_nowait()
            except queue.Empty:
                return Answer(
                    500, {"Content-Type": "application/json"}, '{"message": "this question was not expected"}'
                )
        if request.path == "/models" and self.models is not None:
            return Answer(200, {"Content-Type": "application/json"}, json.dumps(self.models))
        path = (PAGE / (request.path.lstrip("/") or "index.html")).resolve()
        if not path.is_relative_to(PAGE) or not path.is_file():
            return Answer(404)
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return Answer(200, {"Content-Type": content_type, "Cache-Control": "no-store"}, path.read_bytes())
