"""The table: the measurements and their targets. The factors are ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

CONTENDERS = ("ours", "official", "with_openai", "with_g4f", "with_requests", "with_urllib3", "floor")
TITLES = {
    "ours": "ours",
    "official": "official",
    "with_openai": "openai",
    "with_g4f": "g4f",
    "with_requests": "requests",
    "with_urllib3": "urllib3",
    "floor": "floor",
}
# The statement that a user of each library writes to import it.
IMPORTS = {
    "ours": "from gigaclient import GigaChat",
    "official": "from gigachat import GigaChat",
    "with_openai": "from openai import OpenAI",
    "with_g4f": "from g4f.Provider import GigaChat",
    "with_requests": "import requests",
    "with_urllib3": "import urllib3",
    "floor": "import http.client, ssl, msgspec",
}
FLOORS = ("with_requests", "with_urllib3", "floor")


class Target(NamedTuple):
    """A target for ours: ``factor`` times the value of ``against``, or ``factor`` itself if that is None.

    ``reached`` is the ratio so far where the target is missed; the short form does not let it become worse.
    """

    against: str | None
    factor: float
    at_least: bool = False
    reached: float | None = None

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.factor:g} × {TITLES[self.against]}" if self.against else f"{sign} {self.factor:g}"

    def met(self, value: float, slack: float = 1.0) -> bool:
        """Return True if a ratio, or a value without another contender, meets the target; ``slack`` widens it."""
        return value >= self.factor / slack if self.at_least else value <= self.factor * slack


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        key: its name in the results.
        title, unit: for readers.
        task: one of the worker's; or ``import``, ``memory``, ``start``, ``size``, which need a bare process or none.
        targets: the targets for ours.
        form: the server's form.
        count, events, seconds, at_once: for the task.
        short: ``count`` in the short form.
        oauth: the form of the token endpoint, where tokens are fetched.
        large_bundle: trust a file that holds the public roots as well.
        minus_one_ca: subtract a second measurement that trusts one certificate.
        tokens: the smallest number of fetched tokens, or the measurement is void.
        beyond: the token endpoint of a second measurement, without a refresh, that is subtracted from the first.
        times: measurements per round, for the values that vary most.
        in_short: part of the short form.
        without: contenders that cannot run it.
        in_notebook: needs what a notebook's output needs, which a plain installation of ours has not.
    """

    key: str
    title: str
    unit: str
    task: str
    targets: tuple[Target, ...] = ()
    form: str = "plain"
    count: int = 1
    events: int = 1
    seconds: float = 1.0
    at_once: int = 1
    short: int = 1
    oauth: str | None = None
    tokens: int = 0
    beyond: str | None = None
    large_bundle: bool = False
    minus_one_ca: bool = False
    times: int = 1
    in_short: bool = True
    without: tuple[str, ...] = ()
    in_notebook: bool = False


_NOT_FILES = ("official", "with_openai", "with_g4f", "with_urllib3")
_ONLY_OURS = tuple(name for name in CONTENDERS if name != "ours")
_FILE_MB = 100

ROWS = (
    Row(
        "paced",
        "client CPU per event, 100 events 4 ms apart, one write each, TLS",
        "µs",
        "events",
        (Target("with_urllib3", 1.0),),
        form="apart-100-4",
        count=6,
        short=3,
        events=100,
    ),
    Row("import", "import", "ms", "import", (Target("with_requests", 1.15),), times=2),
    Row("start", "import to first answer, one CA, TLS", "ms", "start", (Target("with_requests", 1.15),), times=2),
    Row(
        "bundle",
        "… and how much a bundle of the public roots adds",
        "ms",
        "start",
        (Target("with_requests", 1.0),),
        large_bundle=True,
        minus_one_ca=True,
        times=2,
    ),
    Row("memory", "resident memory of the import", "MB", "memory", (Target("official", 0.6),)),
    Row("size", "installed size with dependencies", "MB", "size", (Target("official", 0.35),)),
    Row(
        "connect",
        "a new connection with a large CA bundle, CPU",
        "ms",
        "connections",
        (Target("with_requests", 0.1),),
        form="plain-close",
        count=20,
        short=10,
        large_bundle=True,
    ),
    Row(
        "call",
        "client CPU of one call, keep-alive TLS",
        "µs",
        "calls",
        (Target("with_requests", 0.6), Target("official", 0.65), Target("with_urllib3", 0.85)),
        count=600,
        short=300,
    ),
    Row(
        "few",
        "client CPU per event, 5000 events in few writes",
        "µs",
        "events",
        (Target("official", 0.45), Target("with_requests", 0.55), Target("with_urllib3", 0.45, reached=0.67)),
        form="few-5000",
        count=6,
        short=4,
        events=5000,
    ),
    Row(
        "each",
        "client CPU per event, 5000 events, one write each",
        "µs",
        "events",
        (Target("official", 0.42), Target("with_requests", 1.1)),
        form="each-5000",
        count=5,
        short=3,
        events=5000,
    ),
    Row(
        "each-200",
        "client CPU per event, 200 events, one write each",
        "µs",
        "events",
        (Target("with_requests", 0.85),),
        form="each-200",
        count=80,
        short=40,
        events=200,
    ),
    Row(
        "late-chunked",
        "first token late, chunked",
        "ms",
        "first_token",
        (Target("with_urllib3", 1.3),),
        form="late-chunked",
        count=7,
        short=5,
    ),
    Row(
        "late-close",
        "first token late, close-delimited",
        "ms",
        "first_token",
        (Target("with_urllib3", 1.3),),
        form="late-close",
        count=7,
        short=5,
    ),
    Row(
        "threads",
        "32 threads, calls a second",
        "/s",
        "throughput",
        (Target("with_requests", 1.4, at_least=True),),
        count=32,
        seconds=2.0,
        short=32,
        without=("with_g4f",),
    ),
    Row(
        "threads-64",
        "64 threads, calls a second",
        "/s",
        "throughput",
        (
            Target("with_urllib3", 1.5, at_least=True, reached=1.0),
            Target("floor", 0.85, at_least=True, reached=0.45),
        ),
        count=64,
        seconds=2.0,
        short=64,
        without=("with_g4f",),
    ),
    Row(
        "renewal",
        "32 threads over a token's renewal (OAuth takes 0.1 s): p99 of a call",
        "ms",
        "renewal",
        (Target(None, 3.0),),
        count=32,
        seconds=4.0,
        short=32,
        oauth="oauth-61.5",
        tokens=2,
        in_short=False,  # on a busy machine every call is late; the next row measures the refresh itself
        without=("with_openai", "with_g4f"),
    ),
    Row(
        "renewal-adds",
        "… and how much more that is than without a renewal",
        "ms",
        "renewal",
        (Target(None, 3.0),),
        count=32,
        seconds=4.0,
        short=32,
        oauth="oauth-61.5",
        tokens=2,
        beyond="oauth-600",
        without=("with_openai", "with_g4f"),
    ),
    Row(
        "map-cpu",
        "client CPU of one of many prompts, 32 at once (ours: giga.map; the others: a pool of threads)",
        "µs",
        "many_cpu",
        (Target("with_requests", 0.75),),
        count=2000,
        short=400,
        at_once=32,
        without=("with_g4f",),
    ),
    Row(
        "map-rate",
        "giga.map where ten prompts are taken at a time: its rate to the possible one",
        "ratio",
        "many_share",
        (Target(None, 0.65, at_least=True),),  # few prompts, of which the first ones find out the limit
        form="paced-10-50",
        count=300,
        short=300,
        seconds=0.05,
        at_once=10,
        without=_ONLY_OURS,
    ),
    Row(
        "embed",
        "giga.embed_many, 10 000 texts where one request is taken at a time: its rate to the possible one",
        "ratio",
        "embed_share",
        (Target(None, 0.9, at_least=True),),
        form="paced-1-200",
        count=10_000,
        seconds=0.2,
        at_once=1,
        in_short=False,  # it lasts half a minute
        without=_ONLY_OURS,
    ),
    Row(
        "embed-ten",
        "… where ten are taken at a time",
        "ratio",
        "embed_share",
        (Target(None, 0.65, at_least=True),),  # 112 requests, of which the first ones find out the limit
        form="paced-10-500",
        count=10_000,
        short=10_000,
        seconds=0.5,
        at_once=10,
        without=_ONLY_OURS,
    ),
    Row(
        "upload",
        "upload of a file of 100 MB: rate (floor: the bare socket)",
        "MB/s",
        "upload_rate",
        (Target("floor", 0.9, at_least=True),),
        form="upload",
        count=_FILE_MB,
        short=_FILE_MB,
        without=_NOT_FILES,
    ),
    Row(
        "upload-memory",
        "… peak memory above the start",
        "MB",
        "upload_memory",
        (Target(None, 4.0),),
        form="upload",
        count=_FILE_MB,
        short=_FILE_MB,
        without=_NOT_FILES,
    ),
    Row(
        "download",
        "download of a file of 100 MB into a file: rate (floor: the bare socket)",
        "MB/s",
        "download_rate",
        (Target("floor", 0.9, at_least=True),),
        form=f"download-{_FILE_MB}",
        count=_FILE_MB,
        short=_FILE_MB,
        without=_NOT_FILES,
    ),
    Row(
        "download-memory",
        "… peak memory above the start",
        "MB",
        "download_memory",
        (Target(None, 4.0),),
        form=f"download-{_FILE_MB}",
        count=_FILE_MB,
        short=_FILE_MB,
        without=_NOT_FILES,
    ),
)

# The texts that a model or a server may send to hold the interpreter. Each has a task of the worker.
HOLDS = tuple(
    Row(
        f"hold-{text}",
        title,
        "ms",
        f"hold_{text}",
        (Target(None, 50.0),),
        without=_ONLY_OURS,
        in_notebook=text != "json",
    )
    for text, title in (
        ("json", "chat_parse: 60 000 line breaks before the JSON"),
        ("comments", "a notebook's output: 800 KB of `<!`"),
        ("formula", "a notebook's output: 200 KB with one open `$$`"),
    )
)


def short_rows() -> list[Row]:
    """Return the rows with targets against the lowest possible cost, and only those targets."""
    rows = []
    for row in (*ROWS, *HOLDS):
        targets = tuple(
            target._replace(factor=target.reached or target.factor)
            for target in row.targets
            if target.against is None or target.against in FLOORS
        )
        if targets and row.in_short:
            rows.append(replace(row, targets=targets, count=row.short))
    return rows
