"""The key, the HTML of results, loading and the page, in a real kernel."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

import pytest
from support.jupyter_tools import one_sentence
from support.kernel import Kernel

from gigaclient.testing import Fault, GigaChatEmulator

# -- the key -----------------------------------------------------------------------------------------------------------


def test_a_login_prompts_without_echo_validates_the_key_and_reports_its_access(
    notebook: Kernel, emulator: GigaChatEmulator
) -> None:
    key = emulator.add_credentials("GIGACHAT_API_B2B")
    ran = notebook.run("%giga_login --into client", answers={"Authorization key": f"  {key}\n"})
    assert ran.status == "ok"
    (shown,) = ran.outputs()
    assert "scope GIGACHAT_API_B2B" in shown["text/plain"] and "memory of this kernel" in shown["text/plain"]
    assert "<td" in shown["text/html"] and "GigaChat-2-Max" in shown["text/html"]
    notebook.run("%giga hello")
    assert notebook.run("print(client)").printed().startswith("<GigaChat model=")
    found = notebook.run(
        f"import base64\n"
        f"kept = [repr(globals()), *map(str, In), *map(str, Out.values()), *map(repr, vars(get_ipython()).values())]\n"
        f"secret = base64.b64decode({base64.b64encode(key.encode()).decode()!r}).decode()\n"
        f"print(any(secret in text for text in kept))"
    )
    assert found.printed() == "False\n"
    assert key not in "\n".join(notebook.transcript)


def test_a_failed_login_says_why(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    unknown = base64.b64encode(b"an-id:a-secret-of-nobody").decode()
    message = one_sentence(notebook.run("%giga_login", answers={"key": unknown}))
    assert "unknown or was revoked" in message and unknown not in message
    assert "not base64" in one_sentence(notebook.run("%giga_login", answers={"key": "no key at all!"}))
    assert "no key was entered" in one_sentence(notebook.run("%giga_login", answers={"key": " "}))
    assert "set GIGACHAT_CREDENTIALS" in one_sentence(notebook.run("%giga_login"))
    message = one_sentence(notebook.run(f"%giga_login {unknown}"))
    assert "delete it here" in message and unknown not in message


def test_a_stored_key_is_used_everywhere_without_asking(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    notebook.run("import os\nkept = os.environ.pop('GIGACHAT_CREDENTIALS')")
    try:
        ran = notebook.run("%giga_login --store", answers={"key": emulator.credentials})
        assert "It is kept in " in ran.plain()
        notebook.run("%reload_ext gigaclient")
        assert notebook.run("%giga Count from 1 to 3").plain() == "1, 2, 3"
        assert "The key was accepted" in notebook.run("%giga_login").plain()
        assert "was removed from" in notebook.run("%giga_login --forget").printed()
        assert "run %giga_login" in one_sentence(notebook.run("%giga hello"))
        assert notebook.run("%giga_login --forget").printed() == "No key was stored.\n"
    finally:
        notebook.run("os.environ['GIGACHAT_CREDENTIALS'] = kept\ndel kept")


# -- HTML of objects ---------------------------------------------------------------------------------------------------


def test_results_of_the_api_have_html(notebook: Kernel) -> None:
    notebook.run("from gigaclient import GigaChat\ngiga = GigaChat()")

    def html(code: str) -> str:
        (result,) = notebook.run(code).of("execute_result")
        return str(result["data"]["text/html"])

    assert "GigaChat-2-Max" in html("giga.get_models()") and "<table>" in html("giga.get_model('GigaChat-2')")
    assert "1\u202f000\u202f000" in html("giga.get_balance()")
    embeddings = html("giga.embeddings(['one', 'two'])")
    assert "1\u202f024" in embeddings and "norm" in embeddings and embeddings.count("<tr>") == 3
    assert "norm" in html("giga.embeddings('one').data[0]")
    assert "characters" in html("giga.tokens_count('one')[0]")
    notebook.run("file = giga.upload_file(('<b>.txt', b'text'))")
    assert "&lt;b&gt;.txt" in html("file") and "&lt;b&gt;.txt" in html("giga.get_files()")
    assert "<b>" not in html("giga.get_files()")
    image = "giga.get_images(giga.chat('Draw a lighthouse', function_call='auto'))[0]"
    (result,) = notebook.run(image).of("execute_result")
    assert base64.b64decode(result["data"]["image/jpeg"]).startswith(b"\xff\xd8\xff")
    (result,) = notebook.run("from gigaclient.types import Image\nImage(content='R0lGODlhAQABAAAAACw=')").of(
        "execute_result"
    )
    assert result["data"]["image/gif"] == "R0lGODlhAQABAAAAACw="


def test_the_extension_can_be_unloaded_and_loaded_again(notebook: Kernel) -> None:
    notebook.run("%unload_ext gigaclient")
    try:
        assert "not found" in notebook.run("%giga hello").printed("stderr")
        assert notebook.run("x = 'a?'; x").status == "ok"
    finally:
        notebook.run("%load_ext gigaclient")
    assert notebook.run("%giga Count from 1 to 3").plain() == "1, 2, 3"


def test_loading_needs_neither_a_key_nor_the_network(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, gigaclient\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('IPython', 'ipykernel', 'traitlets')]\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_line_magic('load_ext', 'gigaclient')\n"
        "assert 'requests' not in sys.modules\n"
        "print('giga' in shell.magics_manager.magics['cell'])\n"
    )
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=50)
    assert run.stdout == "True\n", run.stderr


# -- the page ----------------------------------------------------------------------------------------------------------


def without_numbers(traceback: str) -> str:
    """Return a traceback on one line, without colours and the numbers of this run."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", traceback)
    return " ".join(re.sub(r"In ?\[\d+\]|request [\w-]+", "", plain).split())


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_cells_of_the_page_run(notebook: Kernel, emulator: GigaChatEmulator, language: str) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / language / "jupyter.md").read_text("utf-8")
    cells = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(cells) > 8
    notebook.run("from gigaclient import GigaChat\ngiga = GigaChat()")
    for cell in cells:
        if cell.startswith("RateLimitError"):
            emulator.inject(Fault(status=429, retry_after=0), times=3)
            shown = one_sentence(notebook.run("%giga hello"))
            assert shown.partition("(request")[0] == " ".join(cell.split()).partition("(request")[0]
            continue
        if cell.startswith("Cell In"):
            ran = notebook.run('def ask(text):\n    return giga.chat(text, model="GigaChat-9")\n\nask("hello")')
            assert without_numbers(ran.traceback()).endswith(without_numbers(cell))
            continue
        ran = notebook.run(cell, answers={"key": emulator.credentials})
        assert ran.status == "ok", f"{cell}: {ran.traceback()}"
        assert ran.outputs() or ran.printed() or cell.startswith(("%load_ext", "table"))
