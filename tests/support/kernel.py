"""A Jupyter kernel that runs cells, and its messages."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 40.0


@dataclass
class Ran:
    """The messages and the reply of one executed cell.

    Attributes:
        messages: type, content and time of arrival (``time.monotonic()``) of each message, in order.
        response: the content of the reply.
    """

    messages: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)
    response: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The status of the reply."""
        return str(self.response["status"])

    def of(self, message_type: str) -> list[dict[str, Any]]:
        """Return the contents of the messages of one type."""
        return [content for type_, content, _ in self.messages if type_ == message_type]

    def printed(self, stream: str = "stdout") -> str:
        """Return the printed text."""
        return "".join(content["text"] for content in self.of("stream") if content["name"] == stream)

    def states(self) -> list[dict[str, Any]]:
        """Return the data of all displays and of their updates, in order."""
        return [c["data"] for type_, c, _ in self.messages if type_ in ("display_data", "update_display_data")]

    def outputs(self) -> list[dict[str, Any]]:
        """Return the final outputs of the cell: an update replaces the data of its display."""
        outputs: dict[str, dict[str, Any]] = {}
        for number, (type_, content, _) in enumerate(self.messages):
            name = content.get("transient", {}).get("display_id")
            if type_ == "display_data":
                outputs[name or str(number)] = content["data"]
            elif type_ == "update_display_data":
                assert name in outputs, "an update of an unknown display"
                outputs[name] = content["data"]
            elif type_ == "execute_result":
                outputs[str(number)] = content["data"]
        return list(outputs.values())

    def markdown(self) -> str:
        """Return the Markdown of the outputs."""
        return "\n".join(data["text/markdown"] for data in self.outputs() if "text/markdown" in data)

    def plain(self) -> str:
        """Return the plain text of the outputs."""
        return "\n".join(data.get("text/plain", "") for data in self.outputs())

    def traceback(self) -> str:
        """Return the tracebacks."""
        return "\n".join(line for content in self.of("error") for line in content["traceback"])

    def everything(self) -> str:
        """Return all messages and the reply as text."""
        return repr(self.messages) + repr(self.response)


class Kernel:
    """A kernel and its client."""

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
            at, do: ``do`` is called once, at the first message (type and content) for which ``at`` returns True.
            answers: the input for prompts of the cell, by a part of the prompt.
            stop_on_error: True drops the waiting cells when this one fails.
        """
        request = self.client.execute(code, allow_stdin=answers is not None, stop_on_error=stop_on_error)
        ran = Ran()
        done = False
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            assert time.monotonic() < deadline, f"no end of {code!r} after {TIMEOUT_S} s: {ran.messages[-3:]}"
            if answers is not None:
                self._answer(answers)
            try:
                message = self.client.get_iopub_msg(timeout=0.2 if answers is not None else TIMEOUT_S)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            type_, content = message["msg_type"], message["content"]
            ran.messages.append((type_, content, time.monotonic()))
            if at is not None and do is not None and not done and at(type_, content):
                done = True
                do()
            if type_ == "status" and content["execution_state"] == "idle":
                break
        while True:
            response = self.client.get_shell_msg(timeout=TIMEOUT_S)
            if response["parent_header"].get("msg_id") == request:
                ran.response = response["content"]
                self.transcript.append(ran.everything())
                return ran

    def _answer(self, answers: Mapping[str, str]) -> None:
        try:
            request = self.client.get_stdin_msg(timeout=0.05)
        except queue.Empty:
            return
        prompt = request["content"]["prompt"]
        assert request["content"]["password"], f"{prompt!r} echoes the input"
        self.client.input(next(typed for part, typed in answers.items() if part in prompt))

    def interrupt(self) -> None:
        """Interrupt the running cell."""
        self.manager.interrupt_kernel()


@contextmanager
def kernel(environment: Mapping[str, str], folder: str) -> Iterator[Kernel]:
    """Start a kernel of this Python with exactly this environment."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    # No installed kernel specifications, so that the kernel runs this Python.
    manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), transport="ipc", ip=f"{folder}/k")
    # When the tests run in the background of a shell, child processes would inherit an ignored SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    manager.start_kernel(env=dict(environment), cwd=folder)
    signal.signal(signal.SIGINT, before)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIMEOUT_S)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
