"""A JupyterLab server with an emulator of the service, and a notebook in it that Chromium shows."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from support.browser import Browser, serving, until

_OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",
    "--IdentityProvider.token=",
    "--LabApp.expose_app_in_browser=True",
    # Nothing may be looked up on the internet.
    "--LabApp.extension_manager=readonly",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)


@contextlib.contextmanager
def jupyter_lab(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run JupyterLab in ``folder``, with no settings of this machine; yield its address."""
    private = {"HOME": "home", "IPYTHONDIR": "ipython", "XDG_CONFIG_HOME": "config"}
    private |= {f"JUPYTER_{name}_DIR": f"jupyter-{name.lower()}" for name in ("CONFIG", "DATA", "RUNTIME")}
    private |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    for name in private.values():
        (folder / "private" / name).mkdir(parents=True, exist_ok=True)
    variables = {name: str(folder / "private" / place) for name, place in private.items()}
    # The tests must not use the keyring of a developer's machine.
    variables["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    news = folder / "private" / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}', "utf-8")
    command = ["-m", "jupyterlab", *_OPTIONS, f"--ServerApp.root_dir={folder}"]
    # Its log may have tracebacks of kernels that start or end.
    with serving(command, folder=folder, environment={**environment, **variables}, clean=False) as url:
        yield url


class LabNotebook:
    """A new notebook, operated like a user would.

    Args:
        browser: the browser that shows it.
        url: the address of JupyterLab.
        folder: the folder of JupyterLab.
        cells: the code of its cells.
    """

    def __init__(self, browser: Browser, url: str, folder: Path, cells: Sequence[str]) -> None:
        self._browser = browser
        self._driver = browser.driver
        # A new name, because a notebook that is opened again has its kernel of before.
        path = folder / f"{uuid.uuid4().hex}.ipynb"
        self._driver.get("about:blank")
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path.write_text(nbformat.writes(made), "utf-8")
        self._open(f"{url}lab/tree/{path.name}?reset", len(cells))

    def _open(self, url: str, cells: int) -> None:
        """Show the notebook; load the page again if it is not ready, as a user would on a busy machine."""
        _repeat_until(
            lambda: self._driver.get(url),
            lambda: len(self._cells) == cells and self._kernel == "idle",
            "the notebook is open", attempts=3, seconds=45,
        )  # fmt: skip

    @property
    def _cells(self) -> list[WebElement]:
        return self._driver.find_elements(By.CSS_SELECTOR, ".jp-CodeCell")

    @property
    def _kernel(self) -> str:
        """The state of the kernel."""
        return str(
            self._browser.run(
                "return window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status ?? ''"
            )
        )

    def run(self, index: int, *, wait: bool = True) -> None:
        """Press Shift+Enter in a cell; press it again if JupyterLab, which is still busy, did not begin to run it."""
        cell = self._cells[index]

        def press() -> None:
            self._browser.run("arguments[0].scrollIntoView({block: 'center'})", cell)
            until(lambda: cell.find_element(By.CSS_SELECTOR, ".cm-content").is_displayed(), "the cell can be seen")
            cell.find_element(By.CSS_SELECTOR, ".cm-content").click()
            self._driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ENTER)

        # The prompt is "[*]:" from the moment at which the cell is sent, so that no cell runs twice.
        _repeat_until(press, lambda: self._prompt(index).strip("[]: "), f"cell {index} runs", attempts=4, seconds=15)
        if wait:
            self.wait_for(index)

    def _prompt(self, index: int) -> str:
        """The text left of a cell: ``[ ]:``, ``[*]:`` while it runs, or its number."""
        return self._cells[index].find_element(By.CSS_SELECTOR, ".jp-InputPrompt").text

    def wait_for(self, index: int) -> None:
        """Wait until a cell has run, and its output is complete."""
        until(
            lambda: self._prompt(index).strip("[]: ").isdigit() and self._kernel == "idle",
            f"cell {index} has run", seconds=90,
        )  # fmt: skip

    def run_all(self) -> None:
        """Run all cells, one after another."""
        for index in range(len(self._cells)):
            self.run(index)

    def picture(self, index: int, name: str) -> None:
        """Save a screenshot with the given cell at the top."""
        self._browser.run("arguments[0].scrollIntoView({block: 'start'})", self._cells[index])
        self._browser.picture(name)

    def interrupt(self) -> None:
        """Press the button that interrupts the kernel."""
        self._driver.find_element(By.CSS_SELECTOR, "[data-command='notebook:interrupt-kernel']").click()

    def outputs(self, index: int) -> list[WebElement]:
        """Return the outputs of a cell."""
        return self._cells[index].find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output")

    def text(self, index: int) -> str:
        """Return the visible text of the outputs of a cell, without formulas."""
        return str(
            self._browser.run(
                "return [...arguments[0].querySelectorAll('.jp-OutputArea-output')].map((output) => {"
                " const copy = output.cloneNode(true);"
                " copy.querySelectorAll('mjx-container').forEach((formula) => formula.replaceWith('∑'));"
                " return copy.textContent; }).join('\\n')",
                self._cells[index],
            )
        ).strip()

    def count(self, index: int, selector: str) -> int:
        """Return the number of elements in the outputs of a cell."""
        return sum(len(output.find_elements(By.CSS_SELECTOR, selector)) for output in self.outputs(index))


def _repeat_until(
    act: Callable[[], object], look: Callable[[], object], what: str, *, attempts: int, seconds: float
) -> None:
    """Call ``act``, and again if ``look`` returns no true value within ``seconds``; fail after the last attempt."""
    for attempts_left in reversed(range(attempts)):
        act()
        try:
            until(look, what, seconds=seconds)
        except AssertionError:
            if not attempts_left:
                raise
        else:
            return
