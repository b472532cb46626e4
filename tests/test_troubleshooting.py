"""docs/en/troubleshooting.md and its Russian page show the texts of errors as the package prints them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.pages import CHECKOUT, LANGUAGES
from support.reliability_tools import finish, python

from gigaclient import GigaChat
from gigaclient.hooks import RequestEvent
from gigaclient.testing import Fault, GigaChatEmulator


@dataclass
class City:
    """A city."""

    name: str
    population: int


def _printed(action: Callable[[], object]) -> str:
    """Return the last line of the traceback of what ``action`` raises, without the module of the class."""
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("no error was raised")


def _import_without_flask() -> None:
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name == "gigaclient.contrib.flask"}
    kept = sys.modules.get("flask")
    sys.modules["flask"] = None  # type: ignore[assignment]
    try:
        import gigaclient.contrib.flask  # noqa: F401
    finally:
        del sys.modules["flask"]
        if kept is not None:
            sys.modules["flask"] = kept
        sys.modules.update(hidden)


def _printed_under_fips(settings: Path, base_url: str) -> str:
    """Return the error of a program for which OpenSSL demands FIPS without its provider."""
    settings.write_text("openssl_conf = init\n[init]\nalg_section = fips\n[fips]\ndefault_properties = fips=yes\n")
    program = "from gigaclient import GigaChat\nGigaChat(access_token='t', base_url=parameters).chat('Hello')"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENSSL_CONF", str(settings))
        _, error = finish(python(program, base_url))
    return error.splitlines()[-1].removeprefix("gigaclient.errors.")


@pytest.fixture
def printed(gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the texts of all errors on the page."""
    emulator, options = gigachat_emulator, gigachat_emulator.client_options
    fast = GigaChat(**options, retry_backoff_factor=0.001)

    def client(**changed: object) -> GigaChat:
        return GigaChat(**{**options, "max_retries": 0, **changed})

    def failing(*, times: int = 1, **fault: object) -> Callable[[], object]:
        emulator.inject(Fault(**fault), times=times)  # type: ignore[arg-type]
        return lambda: fast.chat("Hello", timeout=(10, 0.3) if "before_s" in fault else 30)

    def answered(text: str) -> Callable[[], object]:
        emulator.answer(text)
        return lambda: fast.chat_parse("Hello", response_format=City)

    def read_twice() -> None:
        def prompts() -> Iterator[object]:
            yield next(results)

        results = fast.map(prompts())
        list(results)

    def call_again(event: RequestEvent) -> None:
        if event.purpose != "token":
            found.append(_printed(lambda: single.chat("Hello")))

    found: list[str] = []
    single = client(max_connections=1, on_request=call_again)
    single.chat("Hello")
    found += [
        _printed(lambda: GigaChat().chat("Hello")),
        _printed(lambda: GigaChat(credentials="<authorization key>").chat("Hello")),
        _printed(lambda: client(credentials="YTpi").chat("Hello")),
        _printed(lambda: client(scope="GIGACHAT_API_CORP").chat("Hello")),
        _printed(failing(status=401, times=2)),
        _printed(lambda: client(ca_bundle_file=None, trust="pinned").chat("Hello")),
        _printed_under_fips(tmp_path / "openssl.cnf", str(options["base_url"])),
        _printed(lambda: client(proxy="http://127.0.0.1:9").chat("Hello")),
        _printed(lambda: client(auth_url="https://giga.invalid/oauth").chat("Hello")),
        _printed(lambda: client(base_url="https://127.0.0.1:9/v1").chat("Hello")),
        _printed(failing(before_s=3)),
        _printed(failing(status=402)),
        _printed(failing(status=403)),
        _printed(lambda: fast.chat("Hello", model="GigaChat-99")),
        _printed(failing(status=413)),
        _printed(failing(status=422)),
        _printed(failing(status=400)),
        _printed(failing(status=429, times=3)),
        _printed(failing(status=503, times=3)),
        _printed(failing(html=True)),
        _printed(answered('{"name": "Kem"}')),
        _printed(lambda: fast.chat_parse("Hello", response_format=City, max_tokens=1)),
        _printed(lambda: fast.upload_file(("program.exe", b"x"))),
        _printed(lambda: fast.upload_file("nothing.pdf")),
        _printed(_import_without_flask),
        _printed(read_twice),
    ]
    emulator.inject(Fault(stall_after_events=2))
    found.append(_printed(fast.stream("Count from 1 to 9", deadline=0.5).result))
    emulator.inject(Fault(cut_after_events=2))
    found.append(_printed(fast.stream("Count from 1 to 9").result))
    fast.close()
    return found


def _shown(language: str) -> list[str]:
    """Return the error texts on the page; a block may show several, one a line."""
    page = (CHECKOUT / "docs" / language / "troubleshooting.md").read_text("utf-8")
    return [line for block in re.findall(r"^```text\n(.*?)^```$", page, re.M | re.S) for line in block.splitlines()]


def test_the_package_prints_each_text_of_the_page_and_the_page_shows_each_text(printed: list[str]) -> None:
    shown = _shown("en")
    assert _shown("ru") == shown
    patterns = [".*".join(re.escape(part.strip()) for part in line.split("…")) for line in shown]
    for line, pattern in zip(shown, patterns, strict=True):
        assert any(re.match(pattern, text, re.S) for text in printed), line
    for text in printed:
        assert any(re.match(pattern, text, re.S) for pattern in patterns), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_text_is_followed_by_a_cause_and_a_cure(language: str) -> None:
    page = (CHECKOUT / "docs" / language / "troubleshooting.md").read_text("utf-8")
    cause, cure = {"en": ("Cause", "Cure"), "ru": ("Причина", "Решение")}[language]
    parts = page.split("```text\n")[1:]
    assert len(parts) > 20
    for part in parts:
        after = part.split("```\n", 1)[1]
        assert 0 < after.find(f"- **{cause}**") < after.find(f"- **{cure}**"), part[:80]
