"""A real Chromium, the chat page in it, and servers for the page: what the tests in ``tests/browser`` share."""

from __future__ import annotations

import base64
import contextlib
import json
import mimetypes
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from gigaclient.testing.fault_server import Answer, Pause, RawAnswer, RecordedRequest, Server, Step

CHECKOUT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = CHECKOUT / "examples"
PAGE = EXAMPLES / "chat_page"
OUTPUTS = CHECKOUT / "outputs"
"""Pictures for people to look at; git ignores the folder."""

LIMIT_S = 25.0
"""Of every wait: much longer than anything takes, on a machine that has other things to do."""

T = TypeVar("T")


def until(look: Callable[[], T], what: str, *, seconds: float = LIMIT_S) -> T:
    """Look until there is something true, and return that; a failure when there never is."""
    limit = time.monotonic() + seconds
    while True:
        with contextlib.suppress(NoSuchElementException, StaleElementReferenceException):
            found = look()
            if found:
                return found
        assert time.monotonic() < limit, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.03)


# --- the browser -----------------------------------------------------------------------------------------------------


def program(*names: str) -> str:
    """The path of the first of ``names`` that is installed."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise AssertionError(f"no {names[0]} here; run: apt-get install chromium chromium-driver")


class Browser:
    """A headless Chromium with an empty profile. A context manager.

    Args:
        language: What it asks servers for, and tells pages; the first one counts.
        width, height: Of the page, in CSS pixels.
    """

    def __init__(self, *, language: str = "ru-RU", width: int = 1200, height: int = 800) -> None:
        binary, driver = program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._size = (width, height)
        self._language = language
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (
            "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
            "--force-color-profile=srgb", f"--accept-lang={language}", f"--user-data-dir={self._profile.name}",
        ):  # fmt: skip
            options.add_argument(flag)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium's own sandbox does not work for root
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_script_timeout(LIMIT_S)
        self.driver.set_page_load_timeout(LIMIT_S)
        self.reset()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and forget its profile."""
        try:
            self.driver.quit()
        finally:
            self._profile.cleanup()

    def reset(self) -> None:
        """The size, the colours and the language it began with, and no cookies: those know hosts, but no ports."""
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.resize(*self._size)
        self.colours("light")
        self.speak(self._language)

    def resize(self, width: int, height: int, *, scale: float = 1.0, phone: bool = False) -> None:
        """Give the page this many CSS pixels."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone},
        )

    def colours(self, scheme: str) -> None:
        """``"light"`` or ``"dark"``, as the system would say it."""
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def speak(self, language: str) -> None:
        """Tell pages that are opened from now on that the person reads ``language``."""
        agent = self.driver.execute_script("return navigator.userAgent")
        self.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function in the page, with these ``arguments``; what it returns."""
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """The same for a body that awaits; its arguments are in ``given``."""
        wrapped = f"""
            const done = arguments[arguments.length - 1];
            const work = async (...given) => {{ {script} }};
            work(...[...arguments].slice(0, -1)).then(
                (value) => done({{value}}), (error) => done({{error: `${{error.name}}: ${{error.message}}`}}));
        """
        answer = self.driver.execute_async_script(wrapped, *arguments)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def picture(self, name: str) -> Path:
        """Keep a picture of the page as ``outputs/<name>.png``."""
        OUTPUTS.mkdir(exist_ok=True)
        path = OUTPUTS / f"{name}.png"
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def complaints(self) -> list[str]:
        """What the console has said since the last time: errors of scripts, and what the security policy stopped."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["source"] != "network"]


# --- the page --------------------------------------------------------------------------------------------------------


class ChatPage:
    """The chat page, as a person uses it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self._driver = browser.driver

    def open(self, *, fresh: bool = True) -> ChatPage:
        """Go there; with ``fresh`` as somebody who has never been there."""
        self._driver.get(self.url)
        if fresh and self.browser.run("return localStorage.length + sessionStorage.length"):
            self.browser.run("localStorage.clear(); sessionStorage.clear()")
            # Leave first: a page that goes away may keep what it has.
            self._driver.get("about:blank")
            self._driver.get(self.url)
        return self.ready()

    def reload(self) -> ChatPage:
        """Press F5."""
        self._driver.refresh()
        return self.ready()

    def ready(self) -> ChatPage:
        """Wait for the page's script to have set it up."""
        until(lambda: self.one("#question").get_attribute("placeholder"), "the page is set up")
        return self

    def one(self, selector: str) -> WebElement:
        """The first element that ``selector`` finds."""
        return self._driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Every element that ``selector`` finds."""
        return self._driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, selector: str) -> None:
        """Click what ``selector`` finds, once it can be clicked."""
        until(
            lambda: self.one(selector).is_displayed() and self.one(selector).is_enabled(), f"{selector} can be pressed"
        )
        self.one(selector).click()

    def type(self, text: str) -> None:
        """Type into the composer; a line break is Shift+Enter."""
        question = self.one("#question")
        for number, line in enumerate(text.split("\n")):
            if number:
                question.send_keys(Keys.SHIFT, Keys.ENTER)
            question.send_keys(line)

    def ask(self, text: str) -> None:
        """Type and press Enter."""
        self.type(text)
        self.one("#question").send_keys(Keys.ENTER)

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Who said what, as it is shown."""
        return [
            (role, text)
            for role, text in self.browser.run(
                "return [...document.querySelectorAll('.message')]"
                ".map((one) => [one.dataset.role, one.querySelector('.body').innerText.trim()])"
            )
        ]

    @property
    def text(self) -> str:
        """The last answer, as it is shown now."""
        return self.messages[-1][1]

    @property
    def state(self) -> str:
        """``streaming``, ``done``, ``stopped`` or ``failed``: the last answer."""
        return str(self.browser.run("return [...document.querySelectorAll('.message')].at(-1)?.dataset.state ?? ''"))

    def settled(self, state: str = "done") -> ChatPage:
        """Wait for the end of the last answer, which has to be this one."""
        until(lambda: self.state not in ("", "streaming"), f"the answer is {state} (now: {self.state})")
        assert self.state == state, (self.state, self.text, self.failure)
        return self

    @property
    def failure(self) -> str:
        """The sentence under the last answer, or ``""``."""
        shown = self.all(".message:last-child .failure:not([hidden]) .sentence")
        return shown[0].text if shown else ""

    @property
    def note(self) -> str:
        """The mark under the last answer, or ``""``."""
        shown = self.all(".message:last-child .note:not([hidden])")
        return shown[0].text if shown else ""

    @property
    def chats(self) -> list[str]:
        """The titles in the list of chats."""
        return [item.get_attribute("textContent") or "" for item in self.all("#chat-list .open")]

    def watch(self) -> None:
        """From now on note each text that the last answer shows; :attr:`seen` has them."""
        self.browser.run("""
            window.seenTexts = [];
            new MutationObserver(() => {
                const body = document.querySelector('.message[data-role="assistant"]:last-child .body');
                const text = body?.innerText.trim() ?? '';
                if (text !== '' && text !== window.seenTexts.at(-1)) window.seenTexts.push(text);
            }).observe(document.querySelector('#messages'), {childList: true, subtree: true, characterData: true});
        """)

    @property
    def seen(self) -> list[str]:
        """The texts noted since :meth:`watch`."""
        return list(self.browser.run("return window.seenTexts"))


# --- servers for the page --------------------------------------------------------------------------------------------


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event as the servers send it."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def texts(text: str) -> list[bytes]:
    """An event for every word of ``text``."""
    return [event({"text": word}) for word in re.findall(r"\s*\S+|\s+\Z", text)]


DONE = event(
    {"finish_reason": "stop", "model": "GigaChat-2:2.0.31.04", "usage": {"total_tokens": 1234}, "request_id": "r-1"},
    "done",
)


class PageServer:
    """Serves the page, and answers ``POST chat`` with exactly the bytes that a test wants. A context manager."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[Answer | RawAnswer] = queue.SimpleQueue()
        self._server = Server(self._serve)

    def __enter__(self) -> PageServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Go away, in the middle of answers as well."""
        self._server.close()

    @property
    def url(self) -> str:
        """Where the page is."""
        return self._server.url + "/"

    @property
    def asked(self) -> list[RecordedRequest]:
        """The questions so far."""
        return [request for request in self._server.requests if request.path == "/chat"]

    @property
    def fetched(self) -> set[str]:
        """The paths that were asked for."""
        return {request.path for request in self._server.requests}

    @property
    def aborted(self) -> int:
        """How many answers their reader has left before the end."""
        return self._server.aborted

    def next(self, *steps: Step, write_size: int | None = None) -> None:
        """Answer the next question with these bytes of an event stream, and pauses."""
        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        self._answers.put(Answer(200, headers, iter(steps), write_size=write_size))

    def next_text(self, text: str, *, pause_s: float = 0.0) -> None:
        """Answer the next question with this text, word by word."""
        steps: list[Step] = []
        for word in texts(text):
            steps += [word, Pause(pause_s)] if pause_s else [word]
        self.next(*steps, DONE)

    def refuse(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next question with this status; the body is JSON unless it is text."""
        kind = "text/html" if isinstance(body, str) else "application/json"
        content = body if isinstance(body, str) else json.dumps(body or {})
        self._answers.put(Answer(status, {"Content-Type": kind, **(headers or {})}, content))

    def next_raw(self, answer: Answer | RawAnswer) -> None:
        """Answer the next question with this."""
        self._answers.put(answer)

    def _serve(self, request: RecordedRequest) -> Answer | RawAnswer:
        if request.method == "POST" and request.path == "/chat":
            try:
                return self._answers.get_nowait()
            except queue.Empty:
                return Answer(
                    500, {"Content-Type": "application/json"}, '{"message": "this question was not expected"}'
                )
        path = (PAGE / (request.path.lstrip("/") or "index.html")).resolve()
        if not path.is_relative_to(PAGE) or not path.is_file():
            return Answer(404)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return Answer(200, {"Content-Type": kind, "Cache-Control": "no-store"}, path.read_bytes())


@contextlib.contextmanager
def serving(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], seconds: float = 40.0
) -> Iterator[str]:
    """Run a server that prints its address; yields the address, ends the server, and finds no traceback in its log.

    Args:
        command: After the interpreter.
        folder: Where it is run.
        environment: On top of this process's.
        seconds: How long it may take to print its address.
    """
    server = subprocess.Popen(
        [sys.executable, "-u", *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, start_new_session=True,
        env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"},
    )  # fmt: skip
    lines: list[str] = []
    address: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert server.stdout is not None
        for line in server.stdout:
            lines.append(line)
            found = re.search(r"https?://[\w.]+:\d+", line)
            if found is not None:
                address.put(found[0])
        address.put(None)

    reader = threading.Thread(target=read, name="log of the example")
    reader.start()
    try:
        try:
            url = address.get(timeout=seconds)
        except queue.Empty:
            url = None
        assert url is not None, f"{command} told no address:\n{''.join(lines)[-3000:]}"
        yield url + "/"
    finally:
        # Its children too, where it has any.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, 9)
            server.wait(15)
        reader.join(15)
        assert server.stdout is not None
        server.stdout.close()
    log = "".join(lines)
    assert "Traceback" not in log, log[-3000:]
