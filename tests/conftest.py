"""Fixtures and rules of all tests: no network but loopback, a clean environment, and ``--no-skips``."""

from __future__ import annotations

import gc
import importlib
import ipaddress
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from gigaclient.testing import Authority, GigaChatEmulator
    from gigaclient.transport.tls import Trust

# No deadline per example, because a busy machine may be slow. No database, so that a run leaves no files. Always the
# same examples, so that a failure comes from the change; make test ARGS=--hypothesis-profile=wander tries others.
settings.register_profile("gigaclient", deadline=None, database=None, derandomize=True, print_blob=True)
settings.register_profile("wander", deadline=None, database=None, max_examples=2000, print_blob=True)
settings.load_profile("gigaclient")

# Tests that a shell starts in the background ignore SIGINT, and some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

_FOREIGN_VARIABLES = {
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "NETRC",
    "XDG_CONFIG_HOME", "XDG_STATE_HOME", "NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED", "DJANGO_SETTINGS_MODULE",
}  # fmt: skip
_FOREIGN_SUFFIXES = ("_PROXY",)
_FOREIGN_PREFIXES = ("GIGACHAT_", "FAKEGPT_", "GIGACLIENT_")

# Folders and files of tests that start processes, wait for timers or try many cases: "make test-quick" omits them.
SLOW = (
    "auth/test_token_store.py", "browser", "bulk/test_checkpoint.py", "bulk/test_checkpoint_scan.py",
    "bulk/test_executor_failures.py", "bulk/test_executors.py", "bulk/test_interrupted.py", "bulk/test_map.py",
    "bulk/test_map_end.py", "bulk/test_progress_terminal.py", "bulk/test_templates.py", "cli",
    "clusters", "contrib", "doctor", "ecosystem",
    "fakegpt/test_client.py", "fakegpt/test_login.py", "gigachat/test_batches.py", "gigachat/test_downloads.py",
    "gigachat/test_endpoints.py", "gigachat/test_map_batches.py", "gigachat/test_oauth.py", "gigachat/test_stream.py",
    "gigachat/test_threads.py", "gigachat/test_tool_loop.py", "migration/test_cassettes.py", "migration/test_idioms.py",
    "migration/test_scripts.py", "streaming/test_sse.py",
    "test_benchmarks.py", "test_docs.py", "test_examples_many.py", "test_exit.py", "test_fuzz.py", "test_gunicorn.py",
    "test_load.py", "test_pickle.py", "test_prefork.py", "test_readme.py", "test_recordings.py",
    "test_regular_expressions.py", "test_release.py", "test_reliability_page.py", "test_secrets.py", "test_signals.py",
    "test_threads.py", "testing",
    "transport/test_answers_and_questions.py", "transport/test_dead_connections.py", "transport/test_fast_paths.py",
    "transport/test_hostile_servers.py", "transport/test_http.py", "transport/test_pool.py", "walks",
)  # fmt: skip
_SLOW_PATHS = {Path(__file__).parent / name for name in SLOW}

_SKIPPED = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run, as in make and CI")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run two processes per core, because half of the time the tests wait for servers and timers."""
    return int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS", 2 * (os.cpu_count() or 1)))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPPED] = []
    if config.pluginmanager.is_blocked("gigaclient"):  # by make coverage, until the lines of imports are counted
        config.pluginmanager.register(importlib.import_module("gigaclient.testing.plugin"), "gigaclient_fixtures")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # "make test-quick" does not even import the slow tests.
    return True if config.getoption("markexpr") == "not slow" and collection_path in _SLOW_PATHS else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not _SLOW_PATHS.isdisjoint((item.path, *item.path.parents)):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    # Collected tests live to the end. Without freeze, each full collection would scan them, which takes long.
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    from importlib.metadata import version

    return "with " + ", ".join(f"{name} {version(name)}" for name in ("requests", "urllib3", "msgspec"))


class _Skips:
    def __init__(self, found: list[str]) -> None:
        self.found = found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.found.append(report.nodeid)


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--no-skips"):
        session.config.pluginmanager.register(_Skips(session.config.stash[_SKIPPED]))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.stash[_SKIPPED] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for nodeid in config.stash[_SKIPPED]:
        terminalreporter.write_line(f"FAILED: skipped, and with --no-skips nothing may be: {nodeid}", red=True)


def _loopback_only(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple):  # otherwise a Unix socket
            _refuse_unless(_is_loopback(address[0]), address[0])
    elif event == "socket.getaddrinfo":
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        # Names under ".invalid" never resolve, and an IP address needs no look-up.
        _refuse_unless(host is None or _is_loopback(host) or str(host).endswith(".invalid") or _is_number(host), host)


def _is_loopback(host: object) -> bool:
    return host in ("localhost", "::1", "") or str(host).startswith("127.")


def _is_number(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


def _refuse_unless(allowed: bool, host: object) -> None:
    if not allowed:
        raise RuntimeError(f"a test wanted to reach {host}; tests stay on this machine")


sys.addaudithook(_loopback_only)


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """A function that returns an empty folder: the previous one if it is still empty.

    ``tmp_path_factory.mktemp`` lists all existing folders, and there would be thousands.
    """
    base = tmp_path_factory.mktemp("homes")
    numbers = itertools.count()
    last: list[Path] = []

    def home() -> Path:
        if not last or any(last[-1].iterdir()):
            last.append(base / str(next(numbers)))
            last[-1].mkdir()
        return last[-1]

    yield home
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(autouse=True)
def _clean_environment(_homes: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies, bundles or settings of ours in the environment, and an empty home (so no ``.netrc``)."""
    for name in list(os.environ):
        upper = name.upper()
        if upper in _FOREIGN_VARIABLES or upper.endswith(_FOREIGN_SUFFIXES) or upper.startswith(_FOREIGN_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(_homes()))


# -- for tests of many folders; the package is imported at first use ---------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    """The authority that signs the servers of a module's tests."""
    from gigaclient.testing import Authority

    with Authority() as authority:
        yield authority


@pytest.fixture(scope="module")
def foreign() -> Iterator[Authority]:
    """Another authority, which clients do not trust."""
    from gigaclient.testing import Authority

    with Authority() as authority:
        yield authority


@pytest.fixture(scope="module")
def trust(authority: Authority) -> Trust:
    """Trust in ``authority`` alone."""
    from support.socket_tools import trust_in

    return trust_in(authority.ca_file)


@pytest.fixture
def emulator(authority: Authority) -> Iterator[GigaChatEmulator]:
    """An emulator of GigaChat for one test, which must end without errors in its handlers."""
    from gigaclient.testing import GigaChatEmulator

    with GigaChatEmulator(authority=authority) as emulator:
        yield emulator
    assert emulator.api_server.handler_errors == emulator.oauth_server.handler_errors == []


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[GigaChatEmulator]:
    """An emulator of GigaChat for all tests of a module: for many short tests, and programs that outlive a test."""
    from gigaclient.testing import GigaChatEmulator

    with GigaChatEmulator() as emulator:
        yield emulator


@pytest.fixture
def cleared_emulator(shared_emulator: GigaChatEmulator) -> Iterator[GigaChatEmulator]:
    """The emulator of a module without the requests, faults and scripts of other tests."""
    shared_emulator.clear()
    yield shared_emulator
    shared_emulator.clear()
