"""Lists of records, the dialogue and the progress bar show themselves, in a real kernel."""

from __future__ import annotations

import base64
import re

from support.dialogue_tools import name_of_the_user
from support.jupyter_tools import last_body, one_sentence
from support.kernel import Kernel

from gigaclient.testing import GigaChatEmulator

CLIENT = "from gigaclient import GigaChat\ngiga = GigaChat()\n"


def html_of(notebook: Kernel, code: str) -> str:
    """Return the HTML of the result of ``code``, without the styles."""
    shown = notebook.run(CLIENT + code).outputs()[-1]
    return re.sub(' style="[^"]*"', "", shown["text/html"])


def test_images_are_shown_as_images(notebook: Kernel) -> None:
    shown = html_of(notebook, "giga.get_images(giga.chat('Draw a lighthouse', function_call='auto')) * 2")
    images = re.findall('<img src="data:image/jpeg;base64,([^"]+)">', shown)
    assert len(images) == 2
    assert base64.b64decode(images[0]).startswith(b"\xff\xd8\xff")


def test_token_counts_and_models_are_rows_of_one_table(notebook: Kernel) -> None:
    shown = html_of(notebook, "giga.tokens_count(['one', 'two words'])")
    assert "<caption>2 × TokensCount</caption>" in shown
    assert "<tr><th>tokens</th><th>characters</th></tr>" in shown
    assert "<td>3</td></tr><tr>" in shown and "<td>9</td></tr></tbody>" in shown
    assert "<td>GigaChat-2</td>" in html_of(notebook, "giga.get_models()")
    assert "<td>GigaChat-2</td>" in html_of(notebook, "giga.get_models().data")


def test_results_of_map_are_rows_with_the_texts_escaped(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.answer("<b>1</b>")
    shown = html_of(notebook, "list(giga.map(['Count from 1 to 3', 'Count from 1 to 2'], max_workers=1))")
    assert "<caption>2 × MapResult</caption>" in shown and "<th>prompt tokens</th>" in shown
    assert "<td>&lt;b&gt;1&lt;/b&gt;</td>" in shown and "<td>1, 2</td>" in shown
    shown = html_of(notebook, "list(giga.embed_many(['one'] * 30))")
    assert shown.count("<tr>") == 21 and "30 × EmbedResult, of which the first 20 are shown" in shown
    assert re.search(r"<td>\[(-?\d\.\d{4}, ){5}…\]</td>", shown)


def test_answers_are_shown_as_markdown_one_below_the_other(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.answer("```\nnot closed")
    ran = notebook.run(CLIENT + "[giga.chat('one'), giga.chat('Count from 1 to 2')]")
    assert ran.markdown() == "```\nnot closed\n```\n\n---\n\n1, 2"


def test_the_dialogue_is_shown(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    assert notebook.run("%giga --history").printed() == "there is no dialogue yet\n"
    emulator.answer(name_of_the_user, times=None)
    notebook.run('%giga -s "Be polite." My name is <Vera>.')
    sent = len(emulator.requests)
    expected = "**system**\n\nBe polite.\n\n**user**\n\nMy name is &lt;Vera>.\n\n**assistant**\n\n"
    assert notebook.run("%giga --history").markdown().startswith(expected)
    notebook.run("from gigaclient.contrib import jupyter")
    for code in ("jupyter.conversation()", "jupyter.conversation().messages"):
        assert notebook.run(code).markdown().startswith(expected)
    assert len(emulator.requests) == sent
    assert "takes no text" in one_sentence(notebook.run("%giga --history please"))
    notebook.run("%giga What is my name?")
    assert len(last_body(emulator)["messages"]) == 4, "showing it has changed the dialogue"


def test_a_dialogue_shows_function_calls_and_results(notebook: Kernel) -> None:
    messages = [
        {"role": "user", "content": "Which port?"},
        {"role": "assistant", "function_call": {"name": "port_of", "arguments": {"host": "*"}}},
        {"role": "function", "name": "port_of", "content": '{"port": 80}'},
    ]
    shown = notebook.run(CLIENT + f"giga.conversation(messages={messages})").markdown()
    assert '```\nport_of {\n  "host": "*"\n}\n```' in shown
    assert shown.endswith('**function port_of**\n\n```\n{"port": 80}\n```')


def test_other_lists_are_left_to_ipython(notebook: Kernel) -> None:
    for code in ("[]", "[1, 2]", "[giga, giga]", "[giga.tokens_count('a')[0], 1]"):
        (shown,) = notebook.run(CLIENT + code).outputs()
        assert set(shown) == {"text/plain"}


def test_a_formatter_that_the_user_registered_shows_all_other_lists(notebook: Kernel) -> None:
    notebook.run("formatter = get_ipython().display_formatter.formatters['text/html']")
    notebook.run("%unload_ext gigaclient\nformatter.for_type(list, lambda items: f'<p>{len(items)}</p>')")
    try:
        notebook.run("%load_ext gigaclient")
        assert notebook.run("[1, 2]").outputs()[0]["text/html"] == "<p>2</p>"
        assert "<caption>1 × TokensCount</caption>" in html_of(notebook, "giga.tokens_count('a')")
        notebook.run("%unload_ext gigaclient")
        assert notebook.run("[1, 2]").outputs()[0]["text/html"] == "<p>2</p>"
        assert html_of(notebook, "giga.tokens_count('a')") == "<p>1</p>"
    finally:
        notebook.run("formatter.pop(list, None)\n%load_ext gigaclient")


def test_a_run_of_many_prompts_draws_a_widget_where_there_are_widgets(notebook: Kernel) -> None:
    ran = notebook.run(CLIENT + "results = list(giga.map(['Count from 1 to 3'] * 4))")
    assert any("application/vnd.jupyter.widget-view+json" in data for data in ran.outputs())
    assert not ran.printed("stderr")
    notebook.run("import sys\nkept = sys.modules.pop('tqdm.notebook', None)\nsys.modules['ipywidgets'] = None")
    try:
        ran = notebook.run(CLIENT + "results = list(giga.map(['Count from 1 to 3'] * 4))")
    finally:
        notebook.run("del sys.modules['ipywidgets']\nsys.modules['tqdm.notebook'] = kept")
    assert "100%" in ran.printed("stderr") and "4/4" in ran.printed("stderr")
