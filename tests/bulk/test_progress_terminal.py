"""The progress bar on a real terminal and in a notebook."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

import pytest
from support.kernel import Kernel, kernel
from support.terminal import Terminal

_AT_WORK = """
import fcntl, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from gigaclient.bulk.progress import progress_for
progress = progress_for(None, total=1000)
progress.begin()
try:
    for _ in range(1000):
        progress.update(tokens=70, failed=False, restored=False)
        time.sleep(0.05)
except KeyboardInterrupt:
    progress.close("closed")
    print("Interrupted.")
"""


def test_after_ctrl_c_the_last_line_stays_and_the_next_begins_below() -> None:
    with Terminal(command=[sys.executable, "-c", _AT_WORK], columns=100) as terminal:
        terminal.wait_for("70 tokens")
        assert terminal.text.count("\n") == 0
        terminal.type("\x03")
        assert terminal.end() == 0
        lines = [line for line in terminal.text.splitlines() if line]
        assert re.fullmatch(
            r" +\d+%\|.*\| \d+/1000 \[\d\d:\d\d<.*(prompt/s|s/prompt), [\d.]+k? tokens, stopped\](\^C)?", lines[0]
        )
        assert lines[1:] == ["Interrupted."]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("notebook")
    private = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "PYTHONWARNINGS": "error::Warning:tqdm"}
    with kernel({**os.environ, **private}, str(folder)) as started:
        yield started


_CELL = """
from gigaclient.bulk.progress import progress_for
progress = progress_for(None, total=2)
progress.begin()
for _ in range(2):
    progress.update(tokens=7, failed=False, restored=False)
progress.close()
"""


def test_in_a_notebook_it_is_a_widget_or_text_where_there_are_none(notebook: Kernel) -> None:
    ran = notebook.run(_CELL)
    assert ran.status == "ok", ran.traceback()
    views = [data for data in ran.outputs() if "application/vnd.jupyter.widget-view+json" in data]
    assert len(views) == 1
    assert "14 tokens".replace(" ", "\u2007") in ran.everything().replace("\\u2007", "\u2007")
    assert ran.printed("stderr") == ""

    notebook.run(
        "import sys\nfor name in [*sys.modules]:\n"
        "    if name.startswith(('ipywidgets', 'tqdm')): del sys.modules[name]\n"
        "sys.modules['ipywidgets'] = None\n"
    )
    ran = notebook.run(_CELL)
    assert ran.status == "ok", ran.traceback()
    assert ran.outputs() == []
    assert "2/2" in ran.printed("stderr")
    assert "14 tokens" in ran.printed("stderr")
    assert "Warning" not in ran.everything()

    ran = notebook.run(_CELL.replace("None", "False"))
    assert (ran.outputs(), ran.printed("stderr")) == ([], "")
