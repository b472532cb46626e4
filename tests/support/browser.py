"""Helpers of the tests in ``tests/browser``: Chromium, the chat page, and servers for the page."""

from __future__ import annotations

import base64
import contextlib
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

CHECKOUT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = CHECKOUT / "examples"
OUTPUTS = CHECKOUT / "outputs"
"""Screenshots; git ignores the folder."""
NODE_MODULES = CHECKOUT / ".venv" / "browser" / "node" / "node_modules"
"""axe-core and htmx, which ``make browser`` installs."""

LIMIT_S = 25.0
"""The limit of every wait: much longer than any step takes on a busy machine."""

T = TypeVar("T")


def until(look: Callable[[], T], what: str, *, seconds: float = LIMIT_S) -> T:
    """Call ``look`` until it returns a true value, and return that; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(NoSuchElementException, StaleElementReferenceException):
            found = look()
            if found:
                return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.03)


# --- the browser -----------------------------------------------------------------------------------------------------


def program(*names: str) -> str:
    """Return the path of the first of ``names`` that is installed."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise AssertionError(f"no {names[0]} here; run: apt-get install chromium chromium-driver")


class Browser:
    """A headless Chromium with an empty profile. A context manager.

    Args:
        language: The language of ``Accept-Language`` and ``navigator.language``.
        width, height: The size of the page in CSS pixels.
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
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the browser and delete its profile."""
        try:
            self.driver.quit()
        finally:
            self._profile.cleanup()

    def reset(self) -> None:
        """Restore the original size, colours and language. Delete the cookies, which apply to all ports of a host."""
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
        """Set the system's colour scheme to ``"light"`` or ``"dark"``."""
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def speak(self, language: str) -> None:
        """Set the user's language for pages that are opened from now on."""
        agent = self.driver.execute_script("return navigator.userAgent")
        self.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function in the page with ``arguments``, and return its result."""
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Run the body of an async function, whose arguments are in ``args``, and return its result."""
        wrapped = f"""
            const done = arguments[arguments.length - 1];
            const work = async (...args) => {{ {script} }};
            work(...[...arguments].slice(0, -1)).then(
                (value) => done({{value}}), (error) => done({{error: `${{error.name}}: ${{error.message}}`}}));
        """
        answer = self.driver.execute_async_script(wrapped, *arguments)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def picture(self, name: str) -> Path:
        """Save a screenshot of the page as ``outputs/<name>.png``."""
        OUTPUTS.mkdir(exist_ok=True)
        path = OUTPUTS / f"{name}.png"
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def complaints(self) -> list[str]:
        """Return the new warnings and errors of the console: of scripts and of the content security policy."""
        entries = self.driver.get_log("browser")
        loud = [entry for entry in entries if entry["level"] in ("WARNING", "SEVERE")]
        return [entry["message"] for entry in loud if entry["source"] != "network"]


# --- the page --------------------------------------------------------------------------------------------------------


class ChatPage:
    """The chat page, operated like a user would."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self._driver = browser.driver

    def open(self, *, fresh: bool = True) -> ChatPage:
        """Open the page; ``fresh`` clears its storage first, as for a new user."""
        self._driver.get(self.url)
        if fresh and self.browser.run("return localStorage.length + sessionStorage.length"):
            self.browser.run("localStorage.clear(); sessionStorage.clear()")
            # Leave the page first, because it may save its state when it is unloaded.
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
        """Return the first element of ``selector``."""
        return self._driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements of ``selector``."""
        return self._driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, selector: str) -> None:
        """Click the element of ``selector`` when it can be clicked."""
        until(
            lambda: self.one(selector).is_displayed() and self.one(selector).is_enabled(), f"{selector} can be pressed"
        )
        self.one(selector).click()

    def type(self, text: str) -> None:
        """Type into the input field; a line break is Shift+Enter."""
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
        """The role and the visible text of each message."""
        return [
            (role, text)
            for role, text in self.browser.run(
                "return [...document.querySelectorAll('.message')]"
                ".map((one) => [one.dataset.role, one.querySelector('.body').innerText.trim()])"
            )
        ]

    @property
    def text(self) -> str:
        """The visible text of the last answer."""
        return self.messages[-1][1]

    @property
    def state(self) -> str:
        """The state of the last answer: ``streaming``, ``done``, ``stopped`` or ``failed``."""
        return str(self.browser.run("return [...document.querySelectorAll('.message')].at(-1)?.dataset.state ?? ''"))

    def settled(self, state: str = "done") -> ChatPage:
        """Wait for the end of the last answer, and assert that it is in ``state``."""
        until(lambda: self.state not in ("", "streaming"), f"the answer is {state} (now: {self.state})")
        assert self.state == state, (self.state, self.text, self.failure)
        return self

    @property
    def failure(self) -> str:
        """The error message under the last answer, or ``""``."""
        elements = self.all(".message:last-child .failure:not([hidden]) .sentence")
        return elements[0].text if elements else ""

    @property
    def note(self) -> str:
        """The note under the last answer, or ``""``."""
        elements = self.all(".message:last-child .note:not([hidden])")
        return elements[0].text if elements else ""

    @property
    def chats(self) -> list[str]:
        """The titles in the list of chats."""
        return [item.get_attribute("textContent") or "" for item in self.all("#chat-list .open")]

    def watch(self) -> None:
        """Record each text of the last answer from now on in :attr:`seen`."""
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
        """The texts recorded since :meth:`watch`."""
        return list(self.browser.run("return window.seenTexts"))


# --- servers of the examples -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], seconds: float = 40.0
) -> Iterator[str]:
    """Run a server that prints its address, and yield the address. Assert at the end that its log has no traceback.

    Args:
        command: The arguments of the Python interpreter.
        folder: The working directory.
        environment: Variables to add to those of this process.
        seconds: The limit for the start.
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
        assert url is not None, f"{command} printed no address:\n{''.join(lines)[-3000:]}"
        yield url + "/"
    finally:
        # The whole process group, because the server may have children.
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
