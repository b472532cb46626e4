"""Clients in programs that gevent or eventlet patch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GEVENT = "from gevent import monkey; monkey.patch_all()\n"
EVENTLET = "import eventlet; eventlet.monkey_patch()\n"
COMMON = """
import json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from gigaclient import APIConnectionError, APITimeoutError, ConfigError, GigaChat
options = json.loads(sys.argv[-1])
"""

FIFTY_STREAMS = """
with GigaChat(**options, max_connections=50) as giga, ThreadPoolExecutor(50) as pool:
    texts = list(pool.map(lambda n: "".join(giga.generate(f"Say: answer {n}")), range(50)))
assert texts == [f"answer {n}" for n in range(50)], texts
print("done")
"""

DEADLINE = """
import socket
server = socket.create_server(("127.0.0.1", 0))  # accepts and never answers
options["base_url"] = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
with GigaChat(**options, deadline=0.5, max_retries=0) as giga:
    began = time.monotonic()
    try:
        giga.chat("hello")
    except APITimeoutError as error:
        assert error.timeout_kind == "deadline"
    assert time.monotonic() - began < 5
print("done")
"""

CLOSE = """
import socket
server = socket.create_server(("127.0.0.1", 0))
options["base_url"] = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
giga = GigaChat(**options, max_retries=0)
ended = []
def ask():
    try:
        giga.chat("hello")
    except APIConnectionError as error:
        ended.append(error)
waiting = threading.Thread(target=ask)
waiting.start()
server.accept()
giga.close()
waiting.join(5)
assert not waiting.is_alive() and len(ended) == 1
print("done")
"""

SINGLE_FLIGHT = """
with GigaChat(**options, max_connections=20) as giga, ThreadPoolExecutor(20) as pool:
    tokens = set(pool.map(lambda _: giga.get_token().access_token, range(20)))
assert len(tokens) == 1
print("done")
"""


@pytest.mark.parametrize(
    "work", [FIFTY_STREAMS, DEADLINE, CLOSE, SINGLE_FLIGHT], ids=["streams", "deadline", "close", "token"]
)
def test_a_program_that_gevent_patches_first_works(work: str, tmp_path: Path, run: Callable[..., str]) -> None:
    assert run_program(tmp_path, run, GEVENT + COMMON + work) == "done\n"


PATCHED = {
    "gevent after the import": "import gigaclient\n" + GEVENT + COMMON + "ask = lambda: GigaChat(**options)\n",
    "gevent after the client": COMMON + "giga = GigaChat(**options)\n" + GEVENT + "ask = lambda: giga.chat('hello')\n",
    "eventlet first": EVENTLET + COMMON + "ask = lambda: GigaChat(**options)\n",
    "eventlet after the client": COMMON
    + "giga = GigaChat(**options)\n"
    + EVENTLET
    + "ask = lambda: giga.chat('hello')\n",
}


@pytest.mark.parametrize("patched", PATCHED)
def test_a_patch_that_cannot_work_is_answered_in_one_sentence(
    patched: str, tmp_path: Path, run: Callable[..., str]
) -> None:
    library = patched.partition(" ")[0]
    shown = run_program(
        tmp_path, run, PATCHED[patched] + "try:\n    ask()\nexcept ConfigError as error:\n    print(error)\n"
    )
    assert shown.startswith(library) and len(shown.splitlines()) == 1, shown
    assert "import" in shown if library == "gevent" else "threads" in shown


def run_program(folder: Path, run: Callable[..., str], source: str) -> str:
    program = folder / "program.py"
    program.write_text("import warnings\nwarnings.simplefilter('ignore')\n" + source)
    return run(sys.executable, program)
