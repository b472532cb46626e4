"""One measurement in a process: a specification in JSON as the argument, a number or a list on stdout."""

from __future__ import annotations

import http.client
import importlib
import json
import math
import os
import ssl
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import urlsplit

from benchmarks.file_tasks import download_memory, download_rate, upload_memory, upload_rate
from benchmarks.local_tasks import hold_comments, hold_formula, hold_json, records, tolerant
from benchmarks.process_memory import peak_kb, resident_kb

_WARM_CALLS = 30
# The texts in one request, as giga.embed_many packs them.
_TEXTS = 90


class Client(Protocol):
    """The interface of a contender's ``Client``; some have files, and only ours has ``embed``."""

    def call(self) -> str: ...

    def stream(self) -> Any: ...

    def upload(self, path: str) -> None: ...

    def download(self, path: str) -> None: ...

    def embed(self, count: int) -> int: ...

    def read_json(self, text: str) -> int: ...

    def validate(self, fields: dict[str, Any]) -> int: ...


class Specification:
    """The specification of a measurement.

    Attributes:
        contender: the module in ``benchmarks.contenders``.
        task: a name in :data:`TASKS`.
        url, ca, auth: the server's addresses and certificate; ``auth`` None for a ready token.
        counter, tokens: the URL of the number of issued tokens, and the smallest number this measurement needs.
        count: the number of calls, streams, threads or texts, or the MB of a file, depending on the task.
        events: the number of texts in a stream.
        at_once: the number of prompts the server takes at a time.
    """

    def __init__(self, text: str) -> None:
        fields: dict[str, Any] = json.loads(text)
        self.contender: str = fields["contender"]
        self.task: str = fields["task"]
        self.url: str = fields["url"]
        self.ca: str = fields["ca"]
        self.auth: str | None = fields.get("auth")
        self.counter: str | None = fields.get("counter")
        self.tokens: int = fields.get("tokens", 0)
        self.count: int = fields.get("count", 1)
        self.events: int = fields.get("events", 1)
        self.seconds: float = fields.get("seconds", 1.0)
        self.at_once: int = fields.get("at_once", 1)

    def client(self) -> Client:
        module = importlib.import_module(f"benchmarks.contenders.{self.contender}")
        client: Client = module.Client(self.url, self.ca, self.auth)
        return client


def calls(spec: Specification) -> float:
    """Return the client CPU of one call on a connection that stays open, µs."""
    client = spec.client()
    _repeat(client.call, min(_WARM_CALLS, spec.count))
    return _cpu_of(lambda: _repeat(client.call, spec.count)) / spec.count * 1e6


def connections(spec: Specification) -> float:
    """Return the client CPU of one call that needs a new connection, ms."""
    client = spec.client()
    client.call()
    return _cpu_of(lambda: _repeat(client.call, spec.count)) / spec.count * 1e3


def events(spec: Specification) -> float:
    """Return the client CPU of one event, the call included, µs."""
    client = spec.client()
    _read(client, spec.events)
    cpu = _cpu_of(lambda: _repeat(lambda: _read(client, spec.events), spec.count))
    return cpu / spec.count / spec.events * 1e6


def first_token(spec: Specification) -> float:
    """Return the delay from the server's send to the caller's first token, ms."""
    client = spec.client()
    late = []
    for _ in range(spec.count + 1):
        texts = client.stream()
        first = next(texts)
        late.append(time.monotonic() - float(first))
        for _ in texts:
            continue
    return statistics.median(late[1:]) * 1e3


def idle_connections(spec: Specification) -> float:
    """Return the client CPU of one stream while ``count`` connections are idle, µs."""
    client = spec.client()
    streams = [client.stream() for _ in range(spec.count)]
    for texts in streams:
        next(texts)
    for texts in streams:
        for _ in texts:
            continue
    del streams
    _repeat(lambda: _read(client, spec.events), _WARM_CALLS)
    return min(_cpu_of(lambda: _repeat(lambda: _read(client, spec.events), 50)) for _ in range(5)) / 50 * 1e6


def throughput(spec: Specification) -> float:
    """Return the calls a second of ``count`` threads that share a client."""
    client = spec.client()
    client.call()
    ends_at = 0.0
    done = [0] * spec.count
    ready = threading.Barrier(spec.count + 1)

    def run(index: int) -> None:
        client.call()  # opens the thread's connection
        ready.wait(60)
        while time.perf_counter() < ends_at:
            client.call()
            done[index] += 1

    threads = _started(run, spec.count)
    ends_at = time.perf_counter() + 60
    ready.wait(60)
    started_at = time.perf_counter()
    ends_at = started_at + spec.seconds
    _join(threads)
    return sum(done) / (time.perf_counter() - started_at)


def renewal(spec: Specification) -> float:
    """Return the 99th percentile of a call, ms, while ``count`` threads call at leisure and a token is refreshed."""
    tokens_before = _issued_tokens(spec)
    client = spec.client()
    client.call()
    times: list[float] = []
    ready = threading.Barrier(spec.count + 1)

    def run(index: int) -> None:
        client.call()
        ready.wait(60)
        time.sleep(index / spec.count * 0.1)  # not all at once
        while time.perf_counter() < ends_at:
            before = time.perf_counter()
            client.call()
            times.append(time.perf_counter() - before)
            time.sleep(0.1)

    ends_at = time.perf_counter() + spec.seconds
    threads = _started(run, spec.count)
    ready.wait(60)
    _join(threads)
    if _issued_tokens(spec) - tokens_before < spec.tokens:
        raise RuntimeError("no token was renewed: this is no comparison")
    times.sort()
    return times[int(len(times) * 0.99)] * 1e3


def prompts(spec: Specification) -> list[float]:
    """Return CPU ms and resident KB at 1, 10, 100 … up to ``count`` sequential calls."""
    client = spec.client()
    client.call()
    found: list[float] = []
    done, mark = 0, 1
    cpu = time.process_time()
    while mark <= spec.count:
        _repeat(client.call, mark - done)
        done = mark
        found += [(time.process_time() - cpu) * 1e3, resident_kb()]
        mark *= 10
    return found


def many_cpu(spec: Specification) -> float:
    """Return the client CPU of one of ``count`` prompts, connections and threads included, µs."""
    client = spec.client()
    client.call()
    return _cpu_of(lambda: _send_all(client, spec)) / spec.count * 1e6


def many_share(spec: Specification) -> float:
    """Return the rate of ``count`` prompts as a share of the server's, which takes ``seconds`` for each."""
    client = spec.client()
    client.call()
    begun = time.perf_counter()
    _send_all(client, spec)
    return spec.count * spec.seconds / spec.at_once / (time.perf_counter() - begun)


def many_counted(spec: Specification) -> dict[str, float]:
    """Return ``share`` and ``cpu`` of the two above, and the server's counts: ``refused``, ``most`` at a time."""
    client = spec.client()
    client.call()
    _fetch_json(spec, spec.url)
    cpu, begun = time.process_time(), time.perf_counter()
    _send_all(client, spec)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    counted = _fetch_json(spec, spec.url)
    if counted["answered"] != spec.count:
        raise RuntimeError(f"{counted['answered']} answers were sent, not {spec.count}: this is no comparison")
    return {
        "share": spec.count * spec.seconds / spec.at_once / seconds,
        "cpu": cpu / spec.count * 1e6,
        "refused": counted["refused"],
        "most": counted["most"],
    }


def many_growth(spec: Specification) -> list[list[float]]:
    """Return ``[prompts, CPU ms, KB]`` of runs over 1, 10 … ``count`` prompts: peak memory, minus that before."""
    client = spec.client()
    client.call()
    before = peak_kb()
    found: list[list[float]] = []
    most, spec.count = spec.count, 1
    while spec.count <= most:
        cpu = _cpu_of(lambda: _send_all(client, spec))
        found.append([spec.count, cpu * 1e3, peak_kb() - before])
        spec.count *= 10
    return found


def embed_share(spec: Specification) -> float:
    """Return the rate of the vectors of ``count`` texts as a share of the server's, as :func:`many_share`."""
    client = spec.client()
    if client.embed(1) != 1:
        raise RuntimeError("no vector came: this is no comparison")
    begun = time.perf_counter()
    found = client.embed(spec.count)
    seconds = time.perf_counter() - begun
    if found != spec.count:
        raise RuntimeError(f"{found} vectors came, not {spec.count}: this is no comparison")
    return math.ceil(spec.count / _TEXTS) * spec.seconds / spec.at_once / seconds


def counted_calls(spec: Specification) -> float:
    """Make ``count`` calls without measuring: another program counts."""
    client = spec.client()
    _repeat(client.call, 3 + spec.count)
    return 0.0


def counted_events(spec: Specification) -> float:
    """Make ``count`` streams without measuring: another program counts."""
    client = spec.client()
    _repeat(lambda: _read(client, spec.events), 2 + spec.count)
    return 0.0


TASKS: dict[str, Callable[[Specification], Any]] = {
    task.__name__: task
    for task in (
        calls,
        connections,
        events,
        first_token,
        idle_connections,
        throughput,
        renewal,
        prompts,
        many_cpu,
        many_share,
        many_counted,
        many_growth,
        hold_json,
        hold_comments,
        hold_formula,
        embed_share,
        upload_rate,
        upload_memory,
        download_rate,
        download_memory,
        tolerant,
        records,
        counted_calls,
        counted_events,
    )
}


def _repeat(do: Callable[[], object], times: int) -> None:
    for _ in range(times):
        do()


def _cpu_of(do: Callable[[], object]) -> float:
    before = time.process_time()
    do()
    return time.process_time() - before


def _read(client: Client, expected: int) -> None:
    count = 0
    for _ in client.stream():
        count += 1
    if count != expected:
        raise RuntimeError(f"{count} texts came, not {expected}: this is no comparison")


def _many(client: Client, spec: Specification) -> Iterator[str]:
    """Yield the answers to ``count`` prompts: by the contender's own method, or from a thread pool."""
    many = getattr(client, "many", None)
    if many is not None:
        yield from many(spec.count, spec.at_once)
        return
    with ThreadPoolExecutor(spec.at_once) as pool:
        yield from pool.map(lambda _: client.call(), range(spec.count))


def _send_all(client: Client, spec: Specification) -> None:
    answered = sum(1 for text in _many(client, spec) if text)
    if answered != spec.count:
        raise RuntimeError(f"{answered} answers came, not {spec.count}: this is no comparison")


def _issued_tokens(spec: Specification) -> int:
    return int(_fetch_json(spec, spec.counter or ""))


def _fetch_json(spec: Specification, url: str) -> Any:
    """Return the server's response to a GET."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=spec.ca)
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=30, context=context)
    connection.request("GET", "/")
    content = json.loads(connection.getresponse().read())
    connection.close()
    return content


def _started(run: Callable[[int], None], count: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    return threads


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(120)


def main() -> None:
    spec = Specification(sys.argv[1])
    sys.stdout.write(json.dumps(TASKS[spec.task](spec)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the exit of a library is not measured
