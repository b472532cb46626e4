"""Errors and interrupts of calls from code, in a real kernel: the user's frames and one sentence."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.jupyter_tools import eventually
from support.kernel import Kernel, Ran

from gigaclient.testing import Fault, GigaChatEmulator

FAILS = "def ask(text):\n    return giga.chat(text)\n\nask('hello')"


@pytest.fixture
def code(notebook: Kernel, emulator: GigaChatEmulator) -> Kernel:
    notebook.run("%colors NoColor\nfrom gigaclient import GigaChat\ngiga = GigaChat(max_retries=0)")
    return notebook


def frames(ran: Ran) -> list[str]:
    """Return the functions and files of the frames, from the outermost."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", ran.traceback())
    return re.findall(r"^(?:Cell |File )?\S*?(In\[\d+\]|[\w./-]+\.py)", text, re.MULTILINE)


def last_line(ran: Ran) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", ran.traceback()).strip().splitlines()[-1]


def test_a_failed_call_shows_the_users_frames_and_one_sentence(code: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=429, retry_after=7))
    ran = code.run(FAILS)
    assert len(frames(ran)) == 2 and "gigaclient" not in ran.traceback().partition("RateLimitError: ")[0]
    assert "return giga.chat(text)" in ran.traceback() and "ask('hello')" in ran.traceback()
    assert re.fullmatch(r"RateLimitError: 429: .*; the service asks to wait 7 s \(request [\w-]+\)", last_line(ran)), (
        last_line(ran)
    )
    assert ran.of("error")[0]["ename"] == "RateLimitError"


@pytest.mark.parametrize("mode", ["Plain", "Context", "Minimal"])
def test_it_does_so_in_each_short_mode_and_tb_shows_all(code: Kernel, emulator: GigaChatEmulator, mode: str) -> None:
    code.run(f"%xmode {mode}")
    emulator.inject(Fault(status=500))
    ran = code.run(FAILS)
    assert "chat.py" not in ran.traceback() and last_line(ran).startswith("ServerError: 500: ")
    assert ("return giga.chat(text)" in ran.traceback()) is (mode != "Minimal")
    if mode != "Minimal":
        assert "gigachat/chat.py" in code.run("%tb").traceback()


def test_verbose_shows_all(code: Kernel, emulator: GigaChatEmulator) -> None:
    code.run("%xmode Verbose")
    emulator.inject(Fault(status=500))
    assert "gigachat/chat.py" in code.run(FAILS).traceback()


def test_an_interrupted_call_is_shown_alike(code: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(before_s=float("inf")))
    seen = len(emulator.requests)

    def request_received(kind: str, content: dict[str, Any]) -> bool:
        return eventually(lambda: len(emulator.requests) > seen)

    ran = code.run(FAILS, at=request_received, do=code.interrupt)
    assert len(frames(ran)) == 2
    assert last_line(ran) == "KeyboardInterrupt: the call was interrupted, and its requests are cancelled"
    assert "gigachat/chat.py" in code.run("%tb").traceback()


def test_a_function_that_a_call_ran_is_the_users_too(code: Kernel) -> None:
    ran = code.run(
        "def prompts():\n    yield giga.chat('hello', model='nothing').text\n\n"
        "def all_of(prompts):\n    return list(giga.map(prompts))\n\n"
        "all_of(prompts())"
    )
    assert len(frames(ran)) == 3 and last_line(ran).startswith("NotFoundError: 404: ")


@pytest.mark.parametrize(
    "source",
    [
        "def ask():\n    return 1 / 0\n\nask()",
        "def ask():\n    raise KeyboardInterrupt\n\nask()",
        "from gigaclient import ConfigError\n\ndef ask():\n    raise ConfigError('mine')\n\nask()",
        "try:\n    giga.chat('hello', model='x')\nexcept Exception as error:\n    raise ValueError('mine') from error",
    ],
)
def test_all_other_errors_are_shown_as_without_the_extension(code: Kernel, source: str) -> None:
    def without_numbers(ran: Ran) -> str:
        return re.sub(r"In ?\[\d+\]|request [\w-]+|0x\w+", "", ran.traceback())

    shown = without_numbers(code.run(source))
    code.run("%unload_ext gigaclient")
    try:
        assert shown == without_numbers(code.run(source)) != ""
    finally:
        code.run("%load_ext gigaclient")


def test_a_handler_that_the_user_set_keeps_its_errors(code: Kernel) -> None:
    code.run(
        "%unload_ext gigaclient\n"
        "def handler(self, etype, value, tb, tb_offset=None):\n    print('handled', value)\n"
        "get_ipython().set_custom_exc((ZeroDivisionError,), handler)"
    )
    try:
        for magic in ("%load_ext gigaclient", "%unload_ext gigaclient"):
            code.run(magic)
            assert code.run("1 / 0").printed() == "handled division by zero\n"
        assert "gigachat/chat.py" in code.run("giga.chat('hello', model='x')").traceback()
    finally:
        code.run("get_ipython().set_custom_exc((), None)\n%load_ext gigaclient")


def test_a_handler_that_the_user_sets_later_stays(code: Kernel) -> None:
    code.run(
        "def handler(self, etype, value, tb, tb_offset=None):\n    print('handled', value)\n"
        "get_ipython().set_custom_exc((ZeroDivisionError,), handler)\n%unload_ext gigaclient"
    )
    try:
        assert code.run("1 / 0").printed() == "handled division by zero\n"
    finally:
        code.run("get_ipython().set_custom_exc((), None)\n%load_ext gigaclient")
