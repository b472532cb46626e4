"""Helpers of the web framework tests: events as a browser parses them, a client that may disconnect, and servers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from support.reliability_tools import SUPPORT, wait_until

if TYPE_CHECKING:
    from flask import Flask

ASKED = {"messages": [{"role": "user", "content": "Count from 1 to 3"}]}
NO_MESSAGES = [
    {}, {"messages": None}, {"messages": []}, {"messages": [5]}, {"messages": [{"role": "user", "content": 5}]},
    {"messages": [{"role": "user", "content": "half \ud83c"}]}, {"messages": [{"role": "function", "content": "{}"}]},
    [], "text",
]  # fmt: skip
"""Bodies of requests that the views of the documentation refuse."""
PUMP = "gigaclient-event-stream"
"""The name of threads that read streams."""


class Event(NamedTuple):
    """A server-sent event. ``name`` is ``message`` for an event without a name, and ``ping`` for a comment."""

    name: str
    data: str

    @property
    def json(self) -> Any:
        """The data, parsed as JSON."""
        return json.loads(self.data)


def event_of(block: str) -> Event:
    """Parse the lines of an event by the rules for browsers."""
    name, data = "message", []
    for line in block.splitlines():
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field or field == "event":
            name = value
        elif field == "data":
            data.append(value)
        else:
            raise AssertionError(f"an unexpected line: {line!r}")
    return Event(name, "\n".join(data))


def events(body: bytes) -> list[Event]:
    """Parse the events of a complete body."""
    text = body.decode("utf-8")
    assert text == "" or text.endswith("\n\n"), f"the last event is cut: {text[-100:]!r}"
    return [event_of(block) for block in text.split("\n\n")[:-1]]


def text_of(found: Sequence[Event]) -> str:
    """Join the texts of the unnamed events."""
    return "".join(event.json["text"] for event in found if event.name == "message")


def names(found: Sequence[Event]) -> list[str]:
    """Return the names in order, without pings."""
    return [event.name for event in found if event.name != "ping"]


def pumps() -> list[threading.Thread]:
    """Return the threads that read streams now."""
    return [thread for thread in threading.enumerate() if thread.name == PUMP]


class Visit:
    """One request of a browser. Its response is read event by event, and the tab may be closed at any time."""

    def __init__(self, port: int, path: str, body: Any = None, *, timeout: float = 30) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            if body is None:
                self._connection.request("GET", path)
            else:
                self._connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
            self._answer = self._connection.getresponse()
        except BaseException:
            self._connection.close()
            raise
        self.status = self._answer.status
        self.headers = self._answer.headers

    def event(self) -> Event | None:
        """Read the next event or ping; return None at a regular end of the response."""
        lines = []
        while True:
            line = self._answer.readline()
            if line == b"\n":
                return event_of(b"".join(lines).decode("utf-8"))
            if not line:
                assert lines == [], f"the last event is cut: {lines}"
                return None
            lines.append(line)

    def events(self) -> Iterator[Event]:
        """Yield the remaining events."""
        while (event := self.event()) is not None:
            yield event

    def json(self) -> Any:
        """Read the complete body, and parse it as JSON."""
        return json.loads(self._answer.read())

    def leave(self) -> None:
        """Close the connection, as a closed tab does."""
        self._connection.close()
        self._answer.close()

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leave()


class Served(NamedTuple):
    """The port and the log file of a server."""

    port: int
    log: Path


@contextlib.contextmanager
def gunicorn(
    application: str,
    folder: Path,
    environment: Mapping[str, str],
    *options: str,
    workers: int = 1,
    directory: Path = SUPPORT.parent,
) -> Iterator[Served]:
    """Start a gunicorn that serves ``application`` of a module in ``directory``, with its log in ``folder``."""
    log = folder / "gunicorn.log"
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        command = [
            sys.executable, "-m", "gunicorn", application, "--workers", str(workers),
            "--bind", f"fd://{listener.fileno()}", "--error-logfile", str(log), "--no-control-socket",
            "--graceful-timeout", "5", *options,
        ]  # fmt: skip
        server = subprocess.Popen(
            command,
            cwd=directory,  # not the checkout, because "python -m" would import gigaclient from it
            pass_fds=[listener.fileno()],
            env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            wait_until(
                lambda: (
                    server.poll() is not None or (log.is_file() and log.read_text().count("Booting worker") == workers)
                ),
                seconds=30,
                what="the start of gunicorn",
            )
            assert server.poll() is None, log.read_text()[-3000:]
            yield Served(listener.getsockname()[1], log)
        finally:
            end(server, lambda: log.read_text() if log.is_file() else "")


def end(server: subprocess.Popen[Any], told: Callable[[], str], *, group: bool = False) -> None:
    """Terminate a server; fail with the result of ``told``, its log, when it does not end.

    ``group`` sends the signal of Ctrl-C to the whole process group of the server.
    """

    def send(signal_number: int) -> None:
        if group:
            os.killpg(server.pid, signal_number)
        else:
            server.send_signal(signal_number)

    if server.poll() is None:
        send(signal.SIGINT if group else signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        send(signal.SIGKILL)
        server.wait(15)
        raise AssertionError(f"the server did not end: {told()[-3000:]}") from None


def flask_app() -> Flask:
    """Return a typical app for gunicorn. Its views pass the request's prompt to the model."""
    from flask import Flask, request

    from gigaclient.contrib.flask import GigaClient, gigachat, stream_response

    app = Flask(__name__)
    GigaClient(app)
    ended: list[dict[str, Any]] = []

    @app.post("/chat")
    def chat() -> Any:
        body = request.get_json()
        return stream_response(
            gigachat.stream(body["prompt"], **body.get("options", {})),
            ping_s=body.get("ping_s", 2.0),
            on_end=lambda answer: ended.append({"text": answer.text, "finish_reason": answer.finish_reason}),
        )

    @app.post("/whole")
    def whole() -> Any:
        return {"text": gigachat.chat(request.get_json()["prompt"]).text, "worker": os.getpid()}

    @app.get("/state")
    def state() -> Any:
        import resource

        return {
            "worker": os.getpid(),
            "threads": [thread.name for thread in pumps()],
            "ended": ended,
            "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }

    return app
