"""The magics in a real kernel: messages to the front end, and requests to the service."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest
from support.dialogue_tools import name_of_the_user
from support.jupyter_tools import eventually, last_body, one_sentence, shows
from support.kernel import TIMEOUT_S, Kernel

from gigaclient.testing import Fault, GigaChatEmulator

LONG = "Count from 1 to 600"


# -- showing an answer -------------------------------------------------------------------------------------------------


def test_an_answer_grows_in_one_output_of_the_cell(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.event_pause_s = 0.06
    ran = notebook.run("%%giga\nCount from 1 to 20")
    whole = ", ".join(map(str, range(1, 21)))
    kinds = [kind for kind, content, _ in ran.messages if "data" in content]
    texts = [state["text/markdown"] for state in ran.states()]
    assert kinds[0] == "display_data" and set(kinds[1:]) == {"update_display_data"}
    assert len(texts) > 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert ran.outputs() == [{"text/markdown": whole, "text/plain": whole}]
    assert ran.status == "ok" and not ran.of("execute_result")


def test_many_pieces_a_second_do_not_make_as_many_updates(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.event_pause_s = 0.005
    ran = notebook.run("%giga Count from 1 to 250")
    assert 3 < len(ran.states()) < 125
    assert ran.plain().endswith("249, 250")


def test_text_received_before_a_pause_is_shown(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    # Six pieces at once, of which the throttle shows only the first; then silence.
    emulator.inject(Fault(stall_after_events=6))
    ran = notebook.run(f"%giga {LONG}", at=shows("6,"), do=notebook.interrupt)
    assert ran.plain() == "1, 2, 3, 4, 5, 6,\n\n(interrupted)"


def test_formulas_are_shown_as_formulas_and_code_as_code(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.answer(
        "Area: \\( \\pi r^2 \\), so\n\n\\[ E = mc^2 \\]\n\n"
        "```python\nre.match('\\(x\\)', text)\n```\n<script>1</script>"
    )
    ran = notebook.run("%giga formulas")
    assert ran.markdown() == (
        "Area: $\\pi r^2$, so\n\n$$ E = mc^2 $$\n\n```python\nre.match('\\(x\\)', text)\n```\n&lt;script>1&lt;/script>"
    )
    assert "\\( \\pi r^2 \\)" in ran.plain()


def test_a_long_answer_is_not_sent_again_and_again(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    paragraphs = [f"Paragraph {number}. " + "many-words-stand-in-it-" * 20 for number in range(40)]
    answer = "\n\n".join(paragraphs)
    emulator.answer(answer)
    emulator.event_pause_s = 0.01
    ran = notebook.run("%giga a long text")
    shown = ran.outputs()
    assert "\n\n".join(data["text/plain"].rstrip() for data in shown) == answer.rstrip()
    assert len(shown) > 2
    states = [len(state["text/markdown"]) for state in ran.states()]
    assert max(states) < len(answer) / 2, "an update has most of the answer in it"


def test_a_picture_that_the_model_drew_is_shown_below_the_text(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    ran = notebook.run("%giga --auto Draw a lighthouse")
    text, picture = ran.outputs()
    assert text["text/markdown"].strip() == "Here is what came out."
    assert base64.b64decode(picture["image/jpeg"]).startswith(b"\xff\xd8\xff")
    question = next(request for request in reversed(emulator.requests) if request.path.endswith("/chat/completions"))
    assert question.json()["function_call"] == "auto"
    assert any("Seconds left" in state.get("text/markdown", "") for state in ran.states())
    assert "Seconds left" not in ran.markdown()


@pytest.mark.parametrize("code", ["%giga Who's there?", "%giga Is it {so} $HOME??", "if True:\n    %giga Really?"])
def test_a_question_may_end_as_questions_do(notebook: Kernel, emulator: GigaChatEmulator, code: str) -> None:
    emulator.answer("Yes.")
    assert notebook.run(code).plain() == "Yes."
    assert last_body(emulator)["messages"][-1]["content"] == code.partition("%giga ")[2]


def test_help_is_available(notebook: Kernel) -> None:
    ran = notebook.run("%giga?")
    assert "--into NAME" in repr(ran.response["payload"])
    assert "--into NAME" in notebook.run("%giga --help").printed()
    assert "--store" in notebook.run("%giga_login -h").printed()


def test_the_magic_works_while_the_kernel_runs_an_event_loop(notebook: Kernel) -> None:
    ran = notebook.run("import asyncio\nasyncio.get_running_loop()\nawait asyncio.sleep(0)\n%giga Count from 1 to 3")
    assert (ran.status, ran.plain()) == ("ok", "1, 2, 3")


# -- interrupts --------------------------------------------------------------------------------------------------------


def test_an_interrupt_keeps_the_text_marks_it_and_closes_the_call(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    aborted = emulator.api_aborted
    emulator.event_pause_s = 0.05
    ran = notebook.run(f"%%giga --into half\n{LONG}", at=shows("12,"), do=notebook.interrupt)
    kept = ran.plain().removesuffix("\n\n(interrupted)")
    assert kept.startswith("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,")
    assert ran.markdown() == f"{kept}\n\n*(interrupted)*"
    assert not ran.of("error") and not ran.of("stream"), "there is a traceback, or something like it"
    assert eventually(lambda: emulator.api_aborted > aborted and emulator.open_streams == 0)
    emulator.event_pause_s = 0.0
    assert notebook.run("print(half.text, half.finish_reason)").printed().strip() == f"{kept} None"
    assert notebook.run("%giga Count from 1 to 3").plain() == "1, 2, 3"
    assert len(last_body(emulator)["messages"]) == 1, "the answer that was broken off is part of the dialogue"


def test_an_interrupt_before_the_first_word_is_reported(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(before_s=float("inf")))
    seen = len(emulator.requests)

    def request_received(kind: str, content: dict[str, Any]) -> bool:
        return eventually(lambda: len(emulator.requests) > seen)

    ran = notebook.run("%giga hello", at=request_received, do=notebook.interrupt)
    assert "interrupted" in ran.printed() and not ran.of("error")
    assert notebook.run("%giga Count from 1 to 3").plain() == "1, 2, 3"


def test_an_interrupt_ends_a_loop_of_questions(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.event_pause_s = 0.05
    seen = len(emulator.requests)
    ran = notebook.run(f"for number in range(5):\n    %giga {LONG}", at=shows("5,"), do=notebook.interrupt)
    assert len(emulator.requests) == seen + 1
    assert ran.plain().endswith("(interrupted)") and ran.traceback() == "interrupted"


def test_after_an_interrupt_the_cells_that_wait_are_not_run(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.event_pause_s = 0.05
    waiting: list[str] = []

    def interrupt() -> None:
        waiting.append(notebook.client.execute("%giga another question", stop_on_error=True))
        notebook.interrupt()

    seen = len(emulator.requests)
    notebook.run(f"%giga {LONG}", at=shows("5,"), do=interrupt, stop_on_error=True)
    while True:
        reply = notebook.client.get_shell_msg(timeout=TIMEOUT_S)
        if reply["parent_header"].get("msg_id") == waiting[0]:
            break
    assert reply["content"]["status"] == "aborted"
    assert len(emulator.requests) == seen + 1
    assert eventually(lambda: notebook.run("1").status == "ok")


# -- options and the dialogue ------------------------------------------------------------------------------------------


def test_options_are_sent(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    notebook.run('%%giga -m GigaChat-2-Max --system "Be brief." -t 0.3 --max-tokens=50 Translate:\n  three words  \n')
    assert last_body(emulator) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Translate:\n\nthree words"},
        ],
        "model": "GigaChat-2-Max",
        "temperature": 0.3,
        "max_tokens": 50,
        "stream": True,
    }


def test_options_without_a_text_hold_from_then_on(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    assert notebook.run("%giga -m GigaChat-2-Pro -t 0.2").printed() == "model: GigaChat-2-Pro\ntemperature: 0.2\n"
    notebook.run("%giga hello")
    notebook.run("%giga -t 1 --reset hello")
    assert (last_body(emulator)["model"], last_body(emulator)["temperature"]) == ("GigaChat-2-Pro", 1.0)
    notebook.run('%giga -m "" -t ""')
    notebook.run("%giga hello")
    assert last_body(emulator)["model"] == "GigaChat-2" and "temperature" not in last_body(emulator)


def test_the_notebook_has_one_dialogue_until_it_is_reset(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.answer(name_of_the_user, times=None)
    notebook.run('%giga -s "Be polite." My name is Vera.')
    assert notebook.run("%giga What is my name?").plain() == "It is Vera."
    assert "2 questions" in notebook.run("%giga").printed()
    roles = [message["role"] for message in last_body(emulator)["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    session = emulator.requests[-1].headers["x-session-id"]
    notebook.run("%giga --alone Who are you?")
    assert len(last_body(emulator)["messages"]) == 1
    assert notebook.run("%giga --reset What is my name?").plain() == "You have not told me."
    assert len(last_body(emulator)["messages"]) == 1
    assert emulator.requests[-1].headers["x-session-id"] != session


def test_the_answer_is_put_into_a_variable(notebook: Kernel) -> None:
    notebook.run("%giga --into found Count from 1 to 3")
    ran = notebook.run("print(type(found).__name__, found.text, found.usage.total_tokens > 0)\nfound")
    assert ran.printed() == "ChatCompletion 1, 2, 3 True\n"
    assert ran.of("execute_result")[0]["data"]["text/markdown"] == "1, 2, 3"


def test_braces_are_left_unchanged_without_the_fill_option(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    notebook.run("city = 'Kem'; table = {'a': [1, 2]}")
    text = 'Explain {"city": {city}} and $city and {city}'
    notebook.run(f"%%giga\n{text}")
    assert last_body(emulator)["messages"][-1]["content"] == text
    notebook.run('%%giga -f -s "In {city}"\nExplain {"city": "{city}"} {table[\'a\'][1]:>3} {{city}}')
    assert last_body(emulator)["messages"][0]["content"] == "In Kem"
    assert last_body(emulator)["messages"][-1]["content"] == 'Explain {"city": "Kem"}   2 {city}'
    notebook.run("def about(place):\n    %giga -f --alone About {place}\nabout('Onega')")
    assert last_body(emulator)["messages"][-1]["content"] == "About Onega"
    seen = len(emulator.requests)
    assert "there is no variable nobody" in one_sentence(notebook.run("%giga -f {nobody}"))
    assert len(emulator.requests) == seen


def test_code_shows_streams_as_the_magic_does(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.event_pause_s = 0.05
    notebook.run("from gigaclient import GigaChat\nfrom gigaclient.contrib import jupyter\ngiga = GigaChat()")
    ran = notebook.run("answer = jupyter.show(giga.stream('Count from 1 to 12'))\nprint(answer.text)")
    assert len(ran.states()) > 3
    assert ran.plain() + "\n" == ran.printed() == ", ".join(map(str, range(1, 13))) + "\n"
    ran = notebook.run(
        f"stream = giga.chat.stream('{LONG}')\njupyter.show(stream)", at=shows("5,"), do=notebook.interrupt
    )
    assert ran.plain().endswith("(interrupted)") and ran.of("error")[0]["ename"] == "KeyboardInterrupt"
    assert notebook.run("print(stream.closed, stream.text[:2])").printed() == "True 1,\n"
    emulator.event_pause_s = 0.0
    notebook.run("jupyter.use(giga.with_options(model='GigaChat-2-Max'))\n%giga hello")
    assert last_body(emulator)["model"] == "GigaChat-2-Max"
    assert notebook.run("print(len(jupyter.conversation().messages))").printed() == "2\n"


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors_are_one_sentence_and_the_cell_has_failed(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(status=429, retry_after=0), times=10)
    message = one_sentence(notebook.run("%giga hello"))
    assert message.startswith("RateLimitError: 429: ") and "try again later" in message and "attempts" not in message
    emulator.clear()
    assert "get_models() lists" in one_sentence(notebook.run("%giga -m nothing hello"))
    assert "-t takes a number" in one_sentence(notebook.run("%giga -t hot hello"))
    assert "is it --system?" in one_sentence(notebook.run("%giga --sistem x hello"))
    assert "--into takes the name" in one_sentence(notebook.run("%giga --into 1 hello"))
    assert "no text to ask" in one_sentence(notebook.run("%giga --into answer"))


def test_a_stream_that_breaks_leaves_its_text_and_says_so(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    emulator.inject(Fault(reset_after_events=4))
    ran = notebook.run("%giga --into half Count from 1 to 30")
    assert one_sentence(ran).startswith("StreamInterruptedError: ")
    text = ran.plain().removesuffix("\n\n(incomplete)")
    assert text.startswith("1, 2,") and ran.plain() != text
    assert notebook.run("print(half.text)").printed().strip() == text


def test_without_a_key_the_error_names_the_next_step(notebook: Kernel, emulator: GigaChatEmulator) -> None:
    seen = len(emulator.requests)
    notebook.run("import os\nkey = os.environ.pop('GIGACHAT_CREDENTIALS')")
    try:
        assert "run %giga_login" in one_sentence(notebook.run("%giga hello"))
    finally:
        notebook.run("os.environ['GIGACHAT_CREDENTIALS'] = key\ndel key")
    assert len(emulator.requests) == seen


def test_a_key_that_is_set_later_is_used_and_the_dialogue_continues(
    notebook: Kernel, emulator: GigaChatEmulator
) -> None:
    notebook.run("%giga Count from 1 to 2")
    notebook.run("import os\nkey = os.environ.pop('GIGACHAT_CREDENTIALS')")
    try:
        assert "run %giga_login" in one_sentence(notebook.run("%giga hello"))
    finally:
        notebook.run("os.environ['GIGACHAT_CREDENTIALS'] = key\ndel key")
    assert notebook.run("%giga Count from 1 to 3").plain() == "1, 2, 3"
    assert [message["content"] for message in last_body(emulator)["messages"]][:2] == ["Count from 1 to 2", "1, 2"]
    notebook.run("os.environ['GIGACHAT_MODEL'] = 'GigaChat-2-Max'")
    notebook.run("%giga Count from 1 to 3")
    assert last_body(emulator)["model"] == "GigaChat-2-Max"
    # A client that the user chose stays.
    notebook.run("from gigaclient import GigaChat\nfrom gigaclient.contrib import jupyter\njupyter.use(GigaChat())")
    notebook.run("del os.environ['GIGACHAT_MODEL']")
    notebook.run("%giga Count from 1 to 3")
    assert last_body(emulator)["model"] == "GigaChat-2-Max"


def test_no_traceback_shows_a_key_and_a_verbose_one_shows_all_else(
    notebook: Kernel, emulator: GigaChatEmulator
) -> None:
    notebook.run("%xmode Verbose")
    emulator.inject(Fault(status=401, body={"code": 6, "message": "credentials doesn't match db data"}), path="/oauth")
    ran = notebook.run("%giga hello")
    assert ran.status == "error" and "AuthenticationError" in ran.traceback()
    assert "magics.py" in ran.traceback() and "Traceback" in ran.traceback()
    emulator.inject(Fault(status=401, body={"code": 6, "message": "credentials doesn't match db data"}), path="/oauth")
    ran = notebook.run("from gigaclient import GigaChat\nGigaChat().chat('hello')")
    assert "Traceback" in ran.traceback()
    emulator.inject(Fault(reset=True))
    ran = notebook.run("GigaChat(max_retries=0).chat('hello')")
    assert "APIConnectionError" in ran.traceback()
    # The fixture searches all messages for keys and tokens.
