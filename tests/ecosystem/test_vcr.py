"""vcrpy records gigaclient against the emulator and plays it back without; no secret is in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import vcr
from support.pages import snippets
from vcr.errors import CannotOverwriteExistingCassetteException

from gigaclient import FakeGpt, GigaChat, StreamInterruptedError
from gigaclient.testing import FakeGptEmulator, Fault, GigaChatEmulator

PROMPT = "Count from 1 to 5"


@pytest.fixture(scope="module")
def recorder() -> vcr.VCR:
    """Return the recorder of the page."""
    recipe = next(snippet for snippet in snippets("en/ecosystem") if "vcr.VCR(" in snippet)
    namespace: dict[str, Any] = {}
    exec(recipe.partition("for _ in range(2)")[0], namespace)
    found: vcr.VCR = namespace["recorder"]
    return found


def test_a_chat_and_a_stream_are_played_back_without_a_server_and_without_a_secret_in_the_file(
    recorder: vcr.VCR, tmp_path: Path
) -> None:
    cassette = tmp_path / "cassette.yaml"
    heard: list[Any] = []
    with GigaChatEmulator() as emulator:
        options = emulator.client_options
        with recorder.use_cassette(str(cassette)), GigaChat(**options) as giga:
            heard.append((giga.chat("Hello!").text, [chunk.text for chunk in giga.stream(PROMPT)]))
            token = giga.get_token().access_token
        assert len(emulator.requests) == 2
    kept = cassette.read_text("utf-8")
    for secret in (emulator.credentials, token, "Bearer", "Basic"):
        assert secret not in kept
    assert "Hello!" in kept
    del options["ca_bundle_file"]  # deleted with the emulator, and not needed to play back
    played = recorder.use_cassette(str(cassette), record_mode="none")
    with played as tape, GigaChat(**options) as giga:
        heard.append((giga.chat("Hello!").text, [chunk.text for chunk in giga.stream(PROMPT)]))
        assert tape.all_played
        with pytest.raises(CannotOverwriteExistingCassetteException):
            giga.get_models(max_retries=0)  # was not recorded
    assert heard[0] == heard[1]


def test_a_cut_stream_is_recorded_as_one(recorder: vcr.VCR, tmp_path: Path) -> None:
    cassette = str(tmp_path / "cut.yaml")
    texts = []
    with GigaChatEmulator() as emulator:
        options = emulator.client_options
        emulator.inject(Fault(end_after_events=3))
        for mode in ("once", "none"):
            with recorder.use_cassette(cassette, record_mode=mode), GigaChat(**options) as giga:
                with pytest.raises(StreamInterruptedError) as caught:
                    giga.stream(PROMPT).result()
                texts.append(caught.value.text)
    assert texts[0] == texts[1] == "1, 2, 3,"


def test_fakegpt_with_a_token_is_recorded_without_it(recorder: vcr.VCR, tmp_path: Path) -> None:
    cassette = tmp_path / "fake.yaml"
    answers = []
    with FakeGptEmulator() as emulator:
        token = emulator.access_token
        fake = FakeGpt(**emulator.client_options, access_token=token)
        with fake, recorder.use_cassette(str(cassette)):
            answers.append(fake.chat(PROMPT).text)
        address = emulator.base_url
    assert token not in cassette.read_text("utf-8")
    fake = FakeGpt(base_url=address, access_token="another")
    with fake, recorder.use_cassette(str(cassette), record_mode="none"):
        answers.append(fake.chat(PROMPT).text)
    assert answers[0] == answers[1]
