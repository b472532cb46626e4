"""Windows and macOS, as far as Linux can play them: what is missing there is taken away, and the client works on.

Other tests of what only those systems do: ``bulk/test_checkpoint_lock.py`` (``msvcrt``), ``cli/test_login.py`` (their
folders), ``cli/test_process.py`` (a cp1251 console), ``bulk/test_executors.py`` and ``test_pickle.py`` (spawned
processes), ``_primitives/test_fork_safety.py`` (no fork).
"""

from __future__ import annotations

import ast
import io
import json
import math
import ntpath
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gigaclient.errors import ConfigError
from gigaclient.gigachat.resources.uploads import as_upload
from gigaclient.testing import Fault, GigaChatEmulator
from gigaclient.transport.dial import library_class

CHECKOUT = Path(__file__).resolve().parent.parent
TESTS = CHECKOUT / "tests"

# Modules that Windows does not have.
POSIX_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")

# Runs before anything else in a child process.
WINDOWS = f"""
import os, select, selectors, signal, socket, sys, time

for name in {POSIX_MODULES!r}:
    sys.modules[name] = None
# Import these before fork is removed: they check the system once. filelock has separate modules for Windows.
import filelock, multiprocessing, subprocess
for name in ("fork", "forkpty", "register_at_fork", "geteuid", "getuid", "getegid", "getgid", "fchmod", "O_NOFOLLOW",
             "O_NONBLOCK", "O_CLOEXEC", "pread", "pwrite", "mkfifo", "getpgid", "setsid"):
    delattr(os, name)
for name in ("poll", "epoll"):
    delattr(select, name)
for name in ("PollSelector", "EpollSelector"):
    delattr(selectors, name)
selectors.DefaultSelector = selectors.SelectSelector
for name in ("AF_UNIX", "TCP_USER_TIMEOUT", "MSG_DONTWAIT", "MSG_NOSIGNAL"):
    delattr(socket, name)
# Without AF_UNIX, Windows makes the pair from two TCP sockets.
def socketpair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client
socket.socketpair = socketpair
for name in ("SIGHUP", "SIGALRM", "SIGUSR1", "SIGCHLD", "SIGPIPE", "setitimer", "alarm", "pthread_sigmask"):
    delattr(signal, name)
# The clock of Windows before Python 3.13.
monotonic = time.monotonic
time.monotonic = lambda: monotonic() // 0.016 * 0.016
"""

IMPORT_ALL = """
import importlib, pkgutil
import gigaclient

# They start a command, or need packages that "make peers" installs; hooks of PyInstaller run inside it.
apart = (
    "gigaclient.__main__", "gigaclient.testing.__main__", "gigaclient.contrib.langchain", "gigaclient.contrib.llm",
)
for module in pkgutil.walk_packages(gigaclient.__path__, "gigaclient."):
    if module.name not in apart and not module.name.startswith("gigaclient._pyinstaller."):
        importlib.import_module(module.name)
print("imported")
"""

USE = """
import json, pathlib, threading
from gigaclient import APITimeoutError, GigaChat, GigaClientError

options = json.loads(sys.argv[1])
folder = pathlib.Path(sys.argv[2])
giga = GigaChat(**options, retry_backoff_factor=0.01)
quoted = lambda text: text.rpartition("“")[2].rstrip("”")  # the emulator's answer ends with the prompt
seen = {"answer": quoted(giga.chat("one").text), "pieces": quoted("".join(giga.generate("two")))}

seen["many"] = [quoted(result.text) for result in giga.map(["four", "five"], checkpoint=folder / "results.jsonl")]
seen["again"] = [quoted(result.text) for result in giga.map(["four", "five"], checkpoint=folder / "results.jsonl")]
seen["lines"] = len((folder / "results.jsonl").read_text("utf-8").splitlines())

uploaded = folder / "notes.txt"
uploaded.write_text("text", "utf-8")
seen["file"] = giga.upload_file(uploaded).filename

for kind, timeouts in {"deadline": {"deadline": 0.3}, "read": {"timeout": (5, 0.3)}}.items():
    try:
        giga.get_model("silent", **timeouts)
    except APITimeoutError as error:
        seen[kind] = error.timeout_kind
threading.Timer(0.3, giga.close).start()
try:
    giga.get_model("silent")
except GigaClientError as error:
    seen["closed"] = "ended by close()" in str(error)
shared = GigaChat(**options, token_cache=folder / "tokens.json")
seen["cached"] = quoted(shared.chat("six").text)
shared.close()
json.dump(seen, sys.stdout)
"""


def run_on_windows(script: str, *arguments: str) -> str:
    """Run ``script`` in a child process that lacks what Windows lacks; return its output."""
    run = subprocess.run(
        [sys.executable, "-c", WINDOWS + script, *arguments], capture_output=True, text=True, timeout=50, cwd=TESTS
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_module_can_be_imported_without_what_windows_lacks() -> None:
    assert run_on_windows(IMPORT_ALL) == "imported\n"


def test_a_client_works_without_poll_fork_fcntl_and_a_fine_clock(emulator: GigaChatEmulator, tmp_path: Path) -> None:
    emulator.inject(Fault(before_s=math.inf), path="/models/silent", times=3)
    seen: dict[str, Any] = json.loads(run_on_windows(USE, json.dumps(emulator.client_options), str(tmp_path)))
    assert seen == {
        "answer": "one",
        "pieces": "two",
        "many": ["four", "five"],
        "again": ["four", "five"],
        "lines": 2,
        "file": "notes.txt",
        "deadline": "deadline",
        "read": "read",
        "closed": True,
        "cached": "six",
    }


def test_the_name_of_an_upload_has_no_folder_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO(b"text")
    file.name = r"C:\Users\me\notes.txt"  # type: ignore[attr-defined]
    monkeypatch.setattr(os, "path", ntpath)
    upload = as_upload(file)
    monkeypatch.undo()
    assert (upload.filename, upload.content_type) == ("notes.txt", "text/plain")


# -- the tests themselves ----------------------------------------------------------------------------------------------


def test_no_test_file_needs_a_module_of_posix_to_be_imported() -> None:
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.relative_to(TESTS)}:{node.lineno}: {name}" for name in names if name in POSIX_MODULES]
    assert found == []


# -- state of the process ----------------------------------------------------------------------------------------------

# Each is changed under a lock, or in one step that is atomic with and without the interpreter's lock.
GLOBALS = {
    "_core/base_client.py": "one assignment",
    "_core/limiter.py": "a lock",
    "_primitives/fork_safety.py": "one call of set.add; replaced in a child, under a lock of that process",
    "contrib/flask.py": "one assignment of True",
    "contrib/jupyter/__init__.py": "the notebook's main thread alone",
    "contrib/jupyter/notebook.py": "one assignment",
    "gigachat/attachments.py": "one call of setdefault",
}


def test_every_global_that_changes_is_known() -> None:
    """A free-threaded interpreter runs threads at once, so each of these needs a lock or an atomic step."""
    found = set()
    package = CHECKOUT / "gigaclient"
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                found.add(path.relative_to(package).as_posix())
        for statement in tree.body:
            value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
            empty = (isinstance(value, ast.Dict) and not value.keys) or (isinstance(value, ast.List) and not value.elts)
            made = isinstance(value, ast.Call) and ast.unparse(value.func) in (
                "set", "dict", "list", "deque", "collections.deque", "weakref.WeakSet", "weakref.WeakValueDictionary",
                "weakref.WeakKeyDictionary",
            )  # fmt: skip
            if empty or (made and isinstance(value, ast.Call) and not value.args):
                found.add(path.relative_to(package).as_posix())
    found -= {name for name in found if name.startswith("testing/")}
    assert found == set(GLOBALS)


# -- Python in WebAssembly ---------------------------------------------------------------------------------------------


def test_a_urllib3_without_sockets_is_refused_in_one_sentence() -> None:
    class FetchConnection:
        __module__ = "urllib3.contrib.emscripten.connection"

    with pytest.raises(ConfigError, match="Python in WebAssembly cannot run a client"):
        library_class(FetchConnection)
