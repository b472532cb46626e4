"""The apps of docs/en/web.md and docs/ru/web.md on Streamlit and Gradio keep a dialogue with the emulator.

``make apps`` makes an environment for them, because both packages bring many others along.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.pages import LANGUAGES, snippets

from gigaclient.testing import GigaChatEmulator

# Both packages warn, and leave sockets and event loops to the garbage collector.
pytestmark = pytest.mark.filterwarnings("default")
every_page = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture
def emulator(gigachat_env: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch) -> GigaChatEmulator:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    return gigachat_env


@every_page
def test_the_app_on_streamlit_answers_and_shows_the_dialogue(language: str, emulator: GigaChatEmulator) -> None:
    import streamlit
    from streamlit.testing.v1 import AppTest

    streamlit.cache_resource.clear()
    emulator.answer("Hello to you.")
    emulator.answer("And again.")
    app = AppTest.from_string(snippets(f"{language}/web")[-2], default_timeout=40).run()
    app.chat_input[0].set_value("Hello").run()
    app.chat_input[0].set_value("Hello again").run()
    assert not app.exception
    shown = [(message.name, message.markdown[0].value) for message in app.chat_message]
    assert shown == [
        ("user", "Hello"),
        ("assistant", "Hello to you."),
        ("user", "Hello again"),
        ("assistant", "And again."),
    ]


@every_page
def test_the_app_on_gradio_streams_the_answer_and_sends_the_history(language: str, emulator: GigaChatEmulator) -> None:
    names: dict[str, Any] = {}
    exec(compile(snippets(f"{language}/web")[-1].replace(".launch()", ""), "web.md", "exec"), names)
    gradio = names["gradio"]
    launch = gradio.ChatInterface(names["reply"])
    launch.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True)
    try:
        from gradio_client import Client

        client = Client(launch.local_url, verbose=False)
        emulator.answer("Hello to you.")
        emulator.answer("And again.")
        assert client.predict("Hello", api_name="/reply") == "Hello to you."
        job = client.submit("Hello again", api_name="/reply")
        assert job.result(timeout=40) == "And again."
        assert len(job.outputs()) > 1
        asked = [call.json() for call in emulator.requests if call.path.endswith("/chat/completions")]
        assert [message["role"] for message in asked[-1]["messages"]] == ["user", "assistant", "user"]
    finally:
        launch.close()
