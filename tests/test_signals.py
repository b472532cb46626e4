"""Signal handlers of the program: what they raise leaves a call as it is, and they may call the client themselves."""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from support.clients import client_with_new_key
from support.interruption_tools import in_background
from support.reliability_tools import run_python
from support.socket_tools import (
    ConnectProxy,
    Peer,
    Stopwatch,
    eventually,
    read_request,
    silent,
    unanswered_port,
    with_login,
)
from support.thread_tools import requests_to

from gigaclient import ConfigError, FakeGpt, GigaChat
from gigaclient.contrib.client_registry import ClientsByAlias
from gigaclient.gigachat import client as client_module
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator
from gigaclient.transport.dial import Dialer
from gigaclient.transport.dns import resolver
from gigaclient.transport.socket import DeadlineSocket

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there is no signal for one thread")

CHAT = "/chat/completions"
FOREVER = float("inf")


class SoftTimeLimitError(Exception):
    """An exception of the program, as Celery and RQ raise it."""


ERRORS: dict[str, Callable[[], Exception]] = {
    "own class": lambda: SoftTimeLimitError("from the handler"),
    "TimeoutError": lambda: TimeoutError("from the handler"),
    "OSError": lambda: OSError(errno.EIO, "from the handler"),
    "ConnectionResetError": lambda: ConnectionResetError(errno.ECONNRESET, "from the handler"),
    "BrokenPipeError": lambda: BrokenPipeError(errno.EPIPE, "from the handler"),
    "ValueError": lambda: ValueError("from the handler"),
}

Wait: TypeAlias = tuple[GigaChat, Callable[[], object], Callable[[], bool]]
"""A client, a call that waits, and a function that returns True while it waits."""


@pytest.fixture
def emulator(cleared_emulator: GigaChatEmulator) -> GigaChatEmulator:
    return cleared_emulator


class Signals:
    """Interrupts the main thread with SIGUSR1, and runs a handler of the program there."""

    def __init__(self) -> None:
        self._handle: Callable[[], object] = int
        self._handled = threading.Event()

    def __call__(self, number: int, frame: object) -> None:
        if not self._handled.is_set():
            self._handled.set()
            self._handle()

    @contextlib.contextmanager
    def when(self, is_waiting: Callable[[], bool], handle: Callable[[], object]) -> Iterator[None]:
        """Run ``handle`` once in the main thread as soon as ``is_waiting`` returns True."""
        self._handle = handle
        main = threading.main_thread().ident
        assert main is not None

        def send(over: threading.Event) -> None:
            if not eventually(lambda: is_waiting() or over.is_set()):
                return
            # Repeat it, because Python misses a signal that arrives between its check and the blocking system call.
            while not self._handled.wait(0.1) and not over.is_set():
                signal.pthread_kill(main, signal.SIGUSR1)

        with in_background(send):
            yield


@pytest.fixture
def signals() -> Iterator[Signals]:
    handler = Signals()
    before = signal.signal(signal.SIGUSR1, handler)
    yield handler
    signal.signal(signal.SIGUSR1, before)


def requested(emulator: GigaChatEmulator, path: str, method: str = "POST") -> Callable[[], bool]:
    """Return a function that returns True once one more request for ``path`` has arrived."""
    before = len(requests_to(emulator, method, path))
    return lambda: len(requests_to(emulator, method, path)) > before


def head(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    emulator.inject(Fault(before_s=FOREVER), path=CHAT)
    return giga, lambda: giga.chat("hello"), requested(emulator, CHAT)


def body(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    emulator.inject(Fault(write_size=1, write_pause_s=0.2), path=CHAT)
    return giga, lambda: giga.chat("hello"), requested(emulator, CHAT)


def models(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    emulator.inject(Fault(before_s=FOREVER), path="/models")
    return giga, giga.get_models, requested(emulator, "/models", "GET")


def stream(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    emulator.inject(Fault(stall_after_events=2), path=CHAT)
    answer = giga.stream("Count from 1 to 9")
    return giga, answer.result, lambda: answer.text == "1, 2,"


def token(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    emulator.inject(Fault(before_s=FOREVER), path="/oauth")
    before = len(emulator.oauth_server.requests)
    return giga, lambda: giga.chat("hello"), lambda: len(emulator.oauth_server.requests) > before


def limiter(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator, max_connections=1))
    holder = stack.enter_context(giga.stream("Count from 1 to 9"))

    def call() -> None:
        try:
            giga.chat("hello")
        finally:
            holder.close()

    return giga, call, lambda: giga.stats().waiting == 1


def pause(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    emulator.inject(Fault(status=503, retry_after=15), path=CHAT)
    return giga, lambda: giga.chat("hello"), lambda: giga.stats().retries == 1


def poll(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    batch = giga.create_batch(["hello"])
    emulator.inject(
        Fault(body={"id": batch.id, "method": "chat_completions", "status": "in_progress"}), path="/batches", times=1
    )
    waiting = requested(emulator, "/batches", "GET")
    return giga, lambda: giga.wait_for_batch(batch, poll_interval=15), waiting


def many(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    giga = stack.enter_context(client_with_new_key(emulator))
    emulator.inject(Fault(before_s=FOREVER), path=CHAT)
    return giga, lambda: list(giga.map(["hello"])), requested(emulator, CHAT)


def look_up(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    asked, answer = threading.Event(), threading.Event()
    original = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        asked.set()
        answer.wait()
        return original(*arguments, **options)

    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    stack.callback(answer.set)
    resolver.forget("localhost", emulator.api_server.port)
    giga = stack.enter_context(
        client_with_new_key(emulator, base_url=emulator.base_url.replace("127.0.0.1", "localhost"))
    )

    def call() -> None:
        try:
            giga.chat("hello", authorization="Bearer token")
        finally:
            answer.set()

    return giga, call, asked.is_set


def connect(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    port = stack.enter_context(unanswered_port())
    giga = stack.enter_context(
        client_with_new_key(emulator, base_url=f"https://127.0.0.1:{port}/v1", access_token="token")
    )
    return giga, lambda: giga.chat("hello"), lambda: giga.stats().in_flight == 1


def handshake(emulator: GigaChatEmulator, stack: ExitStack) -> Wait:
    peer = stack.enter_context(Peer(silent))
    giga = stack.enter_context(
        client_with_new_key(emulator, base_url=f"https://127.0.0.1:{peer.port}/v1", access_token="token")
    )
    return giga, lambda: giga.chat("hello"), lambda: peer.accepted == 1


WAITS = [head, body, models, stream, token, limiter, pause, poll, many, look_up, connect, handshake]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
def test_what_a_signal_handler_raises_leaves_the_call_as_it_is(
    wait: Callable[[GigaChatEmulator, ExitStack], Wait],
    error: str,
    emulator: GigaChatEmulator,
    signals: Signals,
) -> None:
    raised = ERRORS[error]()

    def handle() -> None:
        raise raised

    with ExitStack() as stack:
        giga, call, is_waiting = wait(emulator, stack)
        with Stopwatch() as took, signals.when(is_waiting, handle), pytest.raises(type(raised)) as caught:
            call()
        assert caught.value is raised
        assert took.seconds < 10
        stats = giga.stats()
        assert (stats.in_flight, stats.waiting) == (0, 0)
        if wait not in (connect, handshake):
            assert giga.chat("Count from 1 to 3", deadline=15).text == "1, 2, 3"


# -- an exception at any moment --------------------------------------------------------------------

STORM = """
import gc, os, sys
sys.path.insert(0, "..")
from support.socket_tools import eventually
from gigaclient import GigaChat
from gigaclient.testing import GigaChatEmulator

FILES = tuple(os.path.join("gigaclient", *path) for path in (
    ("_core", "executor.py"), ("_core", "limiter.py"), ("streaming", "stream.py"), ("transport", "http.py"),
    ("transport", "response.py"), ("transport", "connection.py"), ("transport", "socket.py"),
))
STEP = 7
sys.unraisablehook = lambda unraisable: None  # the exception may hit a finaliser
wrong = []


def interrupted(call, moment):
    # Raise KeyboardInterrupt at the given line; return False when the call ended before.
    passed = 0

    def trace(frame, event, argument):
        nonlocal passed
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "line":
            passed += 1
            if passed == moment:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return passed >= moment


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


with GigaChatEmulator() as emulator:
    before = open_descriptors()
    with GigaChat(**emulator.client_options, max_connections=2) as giga:
        giga.chat("hello")
        gc.disable()  # what an interrupt leaves must be released without it
        call = {"chat": lambda: giga.chat("hello"), "stream": lambda: giga.stream("hello").result()}[parameters]
        moment = 1
        while interrupted(call, moment):
            stats = giga.stats()
            if (stats.in_flight, stats.waiting, giga._executor.limiter.under_way) != (0, 0, 0):
                wrong.append((moment, stats))
            moment += STEP
        assert giga.chat("Count from 1 to 3", deadline=15).text == "1, 2, 3"
    eventually(lambda: open_descriptors() <= before, 5)
    print(moment, open_descriptors() - before, wrong)
"""


@pytest.mark.parametrize("error", ["ConnectionResetError", "BrokenPipeError"])
def test_a_lost_connection_that_a_handler_raises_before_the_request_is_not_that_of_the_request(
    error: str, emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = ERRORS[error]()

    def interrupted(sock: DeadlineSocket, state: object) -> None:
        raise raised

    with client_with_new_key(emulator) as giga:
        giga.chat("Hi")
        with monkeypatch.context() as patched:
            patched.setattr(DeadlineSocket, "serve", interrupted)
            with pytest.raises(OSError, match="from the handler") as caught:
                giga.chat("Hi")
        assert caught.value is raised
        assert giga.chat("Hi").text
        assert giga.stats().in_flight == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system has no table of descriptors")
@pytest.mark.parametrize("call", ["chat", "stream"])
def test_an_exception_at_any_line_leaves_no_permit_call_or_descriptor(call: str) -> None:
    moments, left_open, wrong = run_python(STORM, call, timeout=60).strip().split(" ", 2)
    assert int(moments) > 200
    assert (left_open, wrong) == ("0", "[]")


# -- handlers and hooks that call their own client -------------------------------------------------


class SignallingLock:
    """A lock that interrupts the main thread with SIGUSR1 each time after that has taken it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire()
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGUSR1)

    def __exit__(self, *error: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("owner", ["limiter", "tokens", "transport"])
def test_a_signal_handler_may_call_the_client_whatever_lock_its_thread_holds(
    owner: str, emulator: GigaChatEmulator, signals: Signals
) -> None:
    texts: list[str] = []
    with client_with_new_key(emulator, max_connections=3) as giga:
        guarded = getattr(giga._executor, owner)
        guarded._lock = SignallingLock(guarded._lock)
        with signals.when(lambda: False, lambda: texts.append(giga.chat("Count from 1 to 2").text)):
            assert giga.chat("Count from 1 to 3").text == "1, 2, 3"
        stats = giga.stats()
    assert texts == ["1, 2"]
    assert (stats.in_flight, stats.waiting) == (0, 0)


@pytest.mark.parametrize("lock", ["_scheduler._lock", "_checkpoint._lock", "_checkpoint._disk"])
def test_a_signal_handler_may_close_a_run_whatever_lock_its_thread_holds(
    lock: str, emulator: GigaChatEmulator, signals: Signals, tmp_path: Path
) -> None:
    owner, _, name = lock.partition(".")
    with client_with_new_key(emulator) as giga:
        results = giga.map([f"Repeat: {number}" for number in range(50)], checkpoint=tmp_path / "run.jsonl")
        guarded = getattr(results, owner)
        original = getattr(guarded, name)
        setattr(guarded, name, SignallingLock(original))
        with signals.when(lambda: False, results.close):
            answered = list(results)
        setattr(guarded, name, original)
        assert results.stopped == "closed"
        assert len(answered) < 50
        again = list(giga.map([f"Repeat: {number}" for number in range(50)], checkpoint=tmp_path / "run.jsonl"))
    assert [result.text for result in again] == [str(number) for number in range(50)]


def test_a_signal_handler_that_reads_the_results_its_thread_is_reading_gets_an_error(
    emulator: GigaChatEmulator, signals: Signals
) -> None:
    errors: list[ConfigError] = []

    def handle() -> None:
        with pytest.raises(ConfigError, match="reading these results already") as caught:
            next(results)
        errors.append(caught.value)

    with client_with_new_key(emulator) as giga:
        results = giga.map(["Repeat: 1", "Repeat: 2"])
        original = results._scheduler._lock
        results._scheduler._lock = SignallingLock(original)
        with signals.when(lambda: False, handle):
            assert [result.text for result in results] == ["1", "2"]
        results._scheduler._lock = original
    assert len(errors) == 1


@pytest.mark.parametrize("cache", ["one-line calls", "aliases"])
def test_a_signal_handler_may_use_the_clients_of_a_program_while_their_lock_is_held(
    cache: str, emulator: GigaChatEmulator, signals: Signals
) -> None:
    options = emulator.client_options
    registry = ClientsByAlias(lambda: options)

    def ask() -> str:
        if cache == "aliases":
            return registry.get(kind=GigaChat).chat("Repeat: 1").text
        return "".join(GigaChat.create_generator("GigaChat-2", "Repeat: 1", **options))

    texts: list[str] = []
    owner = registry._clients if cache == "aliases" else client_module._shared
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "_lock", SignallingLock(owner._lock))
        with signals.when(lambda: False, lambda: texts.append(ask())):
            texts.append(ask())
    assert texts == ["1", "1"]


@pytest.mark.parametrize("wait", [head, body, models, stream, token, pause, poll], ids=lambda wait: wait.__name__)
def test_a_signal_handler_may_call_the_client_while_its_call_waits(
    wait: Callable[[GigaChatEmulator, ExitStack], Wait], emulator: GigaChatEmulator, signals: Signals
) -> None:
    texts: list[str] = []

    def handle() -> None:
        texts.append(giga.chat("Count from 1 to 2", deadline=15).text)
        raise SoftTimeLimitError

    with ExitStack() as stack:
        giga, call, is_waiting = wait(emulator, stack)
        with signals.when(is_waiting, handle), pytest.raises(SoftTimeLimitError):
            call()
        assert texts == ["1, 2"]
        assert giga.stats().in_flight == 0


def test_a_signal_handler_that_needs_the_permit_of_its_own_call_gets_an_error(
    emulator: GigaChatEmulator, signals: Signals
) -> None:
    with ExitStack() as stack:
        giga = stack.enter_context(client_with_new_key(emulator, max_connections=1))
        giga.get_token()
        emulator.inject(Fault(before_s=FOREVER), path=CHAT)
        waiting = requested(emulator, CHAT)
        with signals.when(waiting, lambda: giga.chat("hello")), pytest.raises(ConfigError, match="signal handler"):
            giga.chat("hello")
        assert giga.chat("Count from 1 to 3", deadline=15).text == "1, 2, 3"


def test_a_hook_that_needs_the_permit_of_its_own_call_gets_an_error(emulator: GigaChatEmulator) -> None:
    errors: list[ConfigError] = []

    def hook(event: Any) -> None:
        if event.purpose == "api" and not errors:
            with pytest.raises(ConfigError, match="a hook") as caught:
                giga.chat("hello")
            errors.append(caught.value)

    with client_with_new_key(emulator, max_connections=1, on_request=hook) as giga:
        assert giga.chat("Count from 1 to 3", deadline=15).text == "1, 2, 3"
    assert len(errors) == 1


def test_a_thread_may_wait_for_the_permit_of_a_stream_that_it_has_opened(emulator: GigaChatEmulator) -> None:
    with client_with_new_key(emulator, max_connections=1) as giga:
        stream = giga.stream("Count from 1 to 9")
        closer = threading.Thread(target=lambda: eventually(lambda: giga.stats().waiting == 1) and stream.close())
        closer.start()
        assert giga.chat("Count from 1 to 3", deadline=15).text == "1, 2, 3"
        closer.join()


# -- secrets in the frames of an interrupted call --------------------------------------------------

TOKEN = "eyJ.the-token-that-no-traceback-may-show"


def main_thread_is_in(*functions: str) -> Callable[[], bool]:
    """Return a function that returns True while all of these functions run in the main thread."""
    main = threading.main_thread().ident
    assert main is not None

    def check() -> bool:
        names = set()
        frame = sys._current_frames().get(main)
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        return names.issuperset(functions)

    return check


def locals_of(error: BaseException) -> str:
    """Return the local variables of all frames below the test."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if "/tests/" not in frame.filename.replace("\\", "/")]
    assert {"sendall", "readinto", "_read"} & {frame.name for frame in frames}, "no frame that waits was looked at"
    return "\n".join(f"{frame.filename}:{frame.name} {frame.locals}" for frame in frames)


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("size", [50_000, 20_000_000], ids=["in one write", "in two writes"])
def test_a_blocked_upload_shows_no_token(size: int, emulator: GigaChatEmulator, signals: Signals) -> None:
    over = threading.Event()

    def with_small_buffer(dialer: Dialer, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    with Peer(lambda sock: over.wait()) as peer, ExitStack() as stack:
        stack.callback(over.set)
        peer._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(Dialer, "_prepare", with_small_buffer)
        giga = stack.enter_context(client_with_new_key(emulator, base_url=peer.url + "/v1", access_token=TOKEN))
        with (
            signals.when(main_thread_is_in("sendall", "wait"), raise_interrupt),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            giga.upload_file(b"x" * size, filename="data.txt")
        assert TOKEN not in locals_of(caught.value)


def test_an_interrupted_token_fetch_shows_neither_key_nor_token(emulator: GigaChatEmulator, signals: Signals) -> None:
    def talk(sock: Any) -> None:
        read_request(sock)
        body = f'{{"access_token": "{TOKEN}", '
        sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{body}".encode())
        silent(sock)

    with Peer(talk) as peer, client_with_new_key(emulator, auth_url=peer.url + "/oauth") as giga:
        with (
            signals.when(main_thread_is_in("_read", "wait"), raise_interrupt),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            giga.chat("hello")
        shown = locals_of(caught.value)
        assert TOKEN not in shown
        assert giga._settings.credentials.reveal() not in shown


def test_a_silent_proxy_shows_no_password(emulator: GigaChatEmulator, signals: Signals) -> None:
    login = "alice:s3cret-passw0rd"
    with (
        ConnectProxy(instead=b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 2", holds_open=True) as proxy,
        client_with_new_key(emulator, proxy=with_login(proxy.url, login)) as giga,
    ):
        with (
            signals.when(main_thread_is_in("_tunnel", "wait", "_read_head"), raise_interrupt),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            giga.chat("hello")
        assert b"Proxy-Authorization: Basic " in proxy.heads[0]
        shown = locals_of(caught.value)
        assert login.partition(":")[2] not in shown
        assert base64.b64encode(login.encode()).decode() not in shown


def test_a_head_that_comes_slowly_shows_no_cookie(signals: Signals) -> None:
    def talk(sock: Any) -> None:
        read_request(sock)
        sock.sendall(f"HTTP/1.1 200 OK\r\nSet-Cookie: session={TOKEN}\r\nX-Last: {TOKEN}\r\n".encode())
        silent(sock)

    with Peer(talk) as peer, FakeGpt(peer.url, allow_http=True) as fake:
        with (
            signals.when(main_thread_is_in("_read_head", "wait"), raise_interrupt),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            fake.chat("hello")
        assert TOKEN not in locals_of(caught.value)


def test_an_interrupted_login_shows_neither_account_nor_password(signals: Signals) -> None:
    with FakeGptEmulator() as emulator, FakeGpt(**emulator.client_options) as fake:
        emulator.inject(Fault(before_s=FOREVER), path="/auth/login")
        is_at_login = main_thread_is_in("_log_in", "wait")
        with (
            signals.when(
                lambda: is_at_login() and any(request.path == "/auth/login" for request in emulator.requests),
                raise_interrupt,
            ),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            fake.chat("hello")
        [login] = [request for request in emulator.requests if request.path == "/auth/login"]
        shown = locals_of(caught.value)
    for secret in login.form.values():
        assert secret not in shown
