"""Measurements that send nothing: JSON with mistakes, records, and how long other threads are held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.worker import Specification

_HOLDS = 7


def hold_json(spec: Specification) -> float:
    """Return how long other threads are held while an answer is parsed as JSON, ms."""
    from gigaclient.schema.parse import parse_completion
    from gigaclient.types.chat import ChatCompletion, Choice, Message

    text = "\n" * 60_000 + '{"temperature": 17}'
    answer = ChatCompletion(choices=[Choice(message=Message(role="assistant", content=text))])
    return hold_of(lambda: parse_completion(answer, dict[str, int]))


def hold_comments(spec: Specification) -> float:
    """Return how long other threads are held while half-open comments are shown in a notebook, ms."""
    from gigaclient.types.markdown import for_notebook

    return hold_of(lambda: for_notebook("<!" * 400_000))


def hold_formula(spec: Specification) -> float:
    """Return how long other threads are held while a formula without an end is shown in a notebook, ms."""
    from gigaclient.types.markdown import for_notebook

    return hold_of(lambda: for_notebook("$$ x\n\n" + "word word word\n\n" * 12_500))


def tolerant(spec: Specification) -> float:
    """Return the CPU of reading ``count`` objects with the mistakes of models, ms."""
    client = spec.client()
    items = "".join(f"{{'name': \"item {number}\", price: {number},}},\n" for number in range(spec.count))
    text = f"Here they are:\n```json\n[{items}]\n```\nGood luck!"
    return _best_cpu_ms(lambda: client.read_json(text), spec.count)


def records(spec: Specification) -> float:
    """Return the CPU of validating and dumping a completion with ``count`` choices, ms."""
    client = spec.client()
    message = {"role": "assistant", "content": "Hello there."}
    choices = [{"message": message, "index": number, "finish_reason": "stop"} for number in range(spec.count)]
    return _best_cpu_ms(lambda: client.validate({"choices": choices, "model": "GigaChat"}), spec.count)


def _best_cpu_ms(do: Callable[[], int], expected: int) -> float:
    found: list[float] = []
    while len(found) < 3:
        before = time.process_time()
        count = do()
        found.append((time.process_time() - before) * 1e3)
        if count != expected:
            raise RuntimeError(f"{count} came, not {expected}: this is no comparison")
    return min(found)


def hold_of(work: Callable[[], object]) -> float:
    """Return the longest CPU time of ``work``, ms, during which a second thread that wants to run does not.

    The least of several repetitions: what a busy machine adds differs each time, a hold of the interpreter does not.
    """
    clock = time.pthread_getcpuclockid(threading.get_ident())
    found = []
    for _ in range(_HOLDS):
        over, ready = threading.Event(), threading.Event()
        gaps: list[float] = []

        def watch(over: threading.Event = over, ready: threading.Event = ready, gaps: list[float] = gaps) -> None:
            while not over.is_set():
                before = time.clock_gettime(clock)
                time.sleep(0.0005)
                gaps.append(time.clock_gettime(clock) - before)
                ready.set()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        ready.wait(60)
        work()
        over.set()
        watcher.join(60)
        found.append(max(gaps))
    return min(found) * 1e3
