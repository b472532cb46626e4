"""The server, and one process per measurement; the contenders take turns: A B C, A B C …"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import certifi
import trustme

from benchmarks.environments import CHECKOUT, NOTEBOOK, Environments
from benchmarks.rows import CONTENDERS, IMPORTS, Row

_LIMIT_SECONDS = 60
WORKER = "from benchmarks.worker import main; main()"
_IMPORT = "import time; begun = time.perf_counter(); {}; print((time.perf_counter() - begun) * 1e3)"
# Private pages only (shared ones cost once), in a process that has already imported some common modules.
_MEMORY = (
    "import json, statistics, threading, typing\n"
    "def private():\n"
    "    with open('/proc/self/status') as file:\n"
    "        return next(int(line.split()[1]) for line in file if line.startswith('RssAnon')) * 1024 / 1e6\n"
    "before = private()\n{}\nprint(private() - before)"
)
_START = (
    "import time; begun = time.perf_counter(); from benchmarks.contenders.{} import Client; "
    "assert Client(*sys.argv[1:3]).call(); print((time.perf_counter() - begun) * 1e3, flush=True); "
    "import os; os._exit(0)"
)
# g4f's addresses are constants, so the certificate is valid for those names too.
_NAMES = ("localhost", "127.0.0.1", "gigachat.devices.sberbank.ru", "ngw.devices.sberbank.ru")

Samples = dict[str, list[float]]


class Bench:
    """A running server and the paths to measure against it."""

    def __init__(self, environments: Environments, ports: dict[str, int], ca: Path, large_ca: Path) -> None:
        self.environments = environments
        self.ports = ports
        self.ca = ca
        self.large_ca = large_ca

    def run(
        self,
        contender: str,
        code: str,
        *arguments: str,
        prefix: Sequence[str] = (),
        limit_seconds: float = _LIMIT_SECONDS,
    ) -> str:
        """Run a new process of ``contender`` and return its output.

        Raises:
            RuntimeError: it failed, with its last line of output, or took too long.
        """
        try:
            finished = subprocess.run(
                [*prefix, *self.environments.command(code, *arguments)],
                env=self.environments.variables(contender),
                cwd=self.environments.home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_seconds * (10 if prefix else 1),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"not done after {error.timeout:.0f} s") from None
        if finished.returncode:
            raise RuntimeError((finished.stderr.strip() or f"status {finished.returncode}").splitlines()[-1])
        return finished.stdout if not prefix else finished.stderr

    def url(self, form: str) -> str:
        return f"https://localhost:{self.ports[form]}/api/v1"

    def specification(self, contender: str, row: Row) -> str:
        spec: dict[str, Any] = {
            "contender": contender,
            "task": row.task,
            "url": self.url(row.form),
            "ca": str(self.large_ca if row.large_bundle else self.ca),
            "count": row.count,
            "events": row.events,
            "seconds": row.seconds,
            "at_once": row.at_once,
        }
        if row.oauth is not None:
            spec["auth"] = f"https://localhost:{self.ports[row.oauth]}/api/v2/oauth"
            spec["counter"] = f"https://localhost:{self.ports['count']}/"
            spec["tokens"] = row.tokens
        return json.dumps(spec)

    def once(self, contender: str, row: Row) -> Any:
        """Run one measurement: a number, or another result of the task."""
        if row.task == "size":
            return self.environments.size(contender)
        if row.task == "import":
            return float(self.run(contender, _IMPORT.format(IMPORTS[contender])))
        if row.task == "memory":
            return float(self.run(contender, _as_one_statement(_MEMORY.format(IMPORTS[contender]))))
        if row.task == "start":
            trusted = self.large_ca if row.large_bundle else self.ca
            begun = float(self.run(contender, _START.format(contender), self.url(row.form), str(trusted)))
            if row.minus_one_ca:
                begun -= self.once(contender, replace(row, large_bundle=False, minus_one_ca=False))
            return begun
        installed = NOTEBOOK if row.in_notebook else contender
        found = json.loads(self.run(installed, WORKER, self.specification(contender, row)))
        if row.beyond is not None:
            found -= self.once(contender, replace(row, oauth=row.beyond, beyond=None, tokens=1))
        return found

    def row(self, row: Row, contenders: Sequence[str], rounds: int, say: Callable[[str], None]) -> Samples:
        """Run ``rounds`` measurements of each contender, in turns. A contender that fails is left out, and reported."""
        samples: Samples = {name: [] for name in contenders if name not in row.without}
        for _ in range(1 if row.task == "size" else rounds * row.times):
            for name in list(samples):
                try:
                    samples[name].append(float(self.once(name, row)))
                except RuntimeError as error:
                    say(f"{name} cannot do {row.key!r}: {error}")
                    del samples[name]
        return samples


def _as_one_statement(code: str) -> str:
    return f"exec({code!r})"


def ratio(samples: Samples, against: str) -> float:
    """Return our ratio to another: the median of the ratios within each round, so that a slow minute affects both."""
    pairs = zip(samples["ours"], samples[against], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


@contextlib.contextmanager
def bench(environments: Environments, forms: Sequence[str]) -> Iterator[Bench]:
    """Run a server for ``forms`` during the block."""
    authority = trustme.CA()
    folder = environments.home
    certificate, ca, large_ca = folder / "server.pem", folder / "ca.pem", folder / "large-ca.pem"
    authority.issue_cert(*_NAMES).private_key_and_cert_chain_pem.write_to_path(certificate)
    authority.cert_pem.write_to_path(ca)
    large_ca.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + ca.read_bytes())
    code = f"import sys; sys.path.append({str(CHECKOUT)!r}); from benchmarks.server import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(certificate), *forms],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise RuntimeError("the server did not start")
        yield Bench(environments, json.loads(line), ca, large_ca)
    finally:
        server.stdin.close()
        server.stdout.close()
        server.wait(30)


def forms_of(rows: Sequence[Row]) -> list[str]:
    """Return the server's forms that ``rows`` need."""
    named = (form for row in rows for form in (row.form, row.oauth, row.beyond) if form is not None)
    return list(dict.fromkeys([*named, "count"]))


def known(names: Sequence[str]) -> list[str]:
    """Return ``names`` in the order of the table.

    Raises:
        ValueError: one is not a contender.
    """
    strange = set(names) - set(CONTENDERS)
    if strange:
        raise ValueError(f"no such contender: {', '.join(sorted(strange))}; there are {', '.join(CONTENDERS)}")
    return [name for name in CONTENDERS if name in names]
