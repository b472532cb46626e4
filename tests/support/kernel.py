"""A real kernel to run cells in, and what it sends while it does."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 40.0


@dataclass
class Ran:
    """One cell that ran: the messages of the kernel, and its reply.

    Attributes:
        messages: type and content of each, with the moment it came (``time.monotonic()``), in order.
        response: the content of the reply to the request.
    """

    messages: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)
    response: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return str(self.response["status"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The contents of the messages of one type."""
        return [content for found, content, _ in self.messages if found == kind]

    def printed(self, stream: str = "stdout") -> str:
        return "".join(content["text"] for content in self.of("stream") if content["name"] == stream)

    def states(self) -> list[dict[str, Any]]:
        """What each display showed at first and after each update, in order."""
        return [c["data"] for kind, c, _ in self.messages if kind in ("display_data", "update_display_data")]

    def outputs(self) -> list[dict[str, Any]]:
        """What the cell shows in the end, as a front end has it: an update replaces what its display showed."""
        shown: dict[str, dict[str, Any]] = {}
        for number, (kind, content, _) in enumerate(self.messages):
            name = content.get("transient", {}).get("display_id")
            if kind == "display_data":
                shown[name or str(number)] = content["data"]
            elif kind == "update_display_data":
                assert name in shown, "an update of a display that was not there"
                shown[name] = content["data"]
            elif kind == "execute_result":
                shown[str(number)] = content["data"]
        return list(shown.values())

    def markdown(self) -> str:
        return "\n".join(data["text/markdown"] for data in self.outputs() if "text/markdown" in data)

    def plain(self) -> str:
        return "\n".join(data.get("text/plain", "") for data in self.outputs())

    def traceback(self) -> str:
        return "\n".join(line for content in self.of("error") for line in content["traceback"])

    def everything(self) -> str:
        """All that came, as text."""
        return repr(self.messages) + repr(self.response)


class Kernel:
    """A kernel with a client of it."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self.client = client
        self.transcript: list[str] = []

    def run(
        self,
        code: str,
        *,
        at: Callable[[str, dict[str, Any]], bool] | None = None,
        do: Callable[[], None] | None = None,
        answers: Mapping[str, str] | None = None,
        stop_on_error: bool = False,
    ) -> Ran:
        """Run a cell to its end.

        Args:
            code: the cell.
            at, do: ``do`` is called once, when ``at`` says yes to a message (its type and content).
            answers: what is typed when the cell asks; by a part of the prompt.
            stop_on_error: whether cells that wait are given up when this one fails.
        """
        request = self.client.execute(code, allow_stdin=answers is not None, stop_on_error=stop_on_error)
        ran = Ran()
        done = False
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < ends_at, f"no end of {code!r} after {PATIENCE_S} s: {ran.messages[-3:]}"
            if answers is not None:
                self._answer(answers)
            try:
                message = self.client.get_iopub_msg(timeout=0.2 if answers is not None else PATIENCE_S)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            ran.messages.append((kind, content, time.monotonic()))
            if at is not None and do is not None and not done and at(kind, content):
                done = True
                do()
            if kind == "status" and content["execution_state"] == "idle":
                break
        while True:
            response = self.client.get_shell_msg(timeout=PATIENCE_S)
            if response["parent_header"].get("msg_id") == request:
                ran.response = response["content"]
                self.transcript.append(ran.everything())
                return ran

    def _answer(self, answers: Mapping[str, str]) -> None:
        try:
            asked = self.client.get_stdin_msg(timeout=0.05)
        except queue.Empty:
            return
        prompt = asked["content"]["prompt"]
        assert asked["content"]["password"], f"{prompt!r} shows what is typed"
        self.client.input(next(typed for part, typed in answers.items() if part in prompt))

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()


@contextmanager
def kernel(environment: Mapping[str, str], folder: str) -> Iterator[Kernel]:
    """A new kernel of this Python, which knows of the environment what is given."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    # The one of this Python, not one that somebody has installed for all.
    manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), transport="ipc", ip=f"{folder}/k")
    # Whoever starts the tests in the background has children ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    manager.start_kernel(env=dict(environment), cwd=folder)
    signal.signal(signal.SIGINT, before)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
