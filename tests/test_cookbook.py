"""Run the parts of the cookbook that do not run by themselves: the bot, and the last of many keys."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
import responses
from support.pages import LANGUAGES, snippets

from gigaclient import PaymentRequiredError
from gigaclient.testing import Fault, GigaChatEmulator

TELEGRAM = "https://api.telegram.org/bot1:2"


@pytest.fixture(params=LANGUAGES)
def recipes(
    request: pytest.FixtureRequest, gigachat_emulator: GigaChatEmulator, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """Return the first snippet of the cookbook and the two last ones as a module."""
    for name, value in gigachat_emulator.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIGACHAT_KEYS", ",".join([gigachat_emulator.client_options["credentials"]] * 2))
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    code = snippets(f"{request.param}/cookbook")
    made = ModuleType("recipes")
    exec(compile("\n".join([code[0], *code[-2:]]), made.__name__, "exec", dont_inherit=True), made.__dict__)
    return made


def test_the_bot_answers_each_message_in_the_dialogue_of_its_chat(
    recipes: ModuleType, gigachat_emulator: GigaChatEmulator
) -> None:
    updates = [
        {"update_id": 5, "message": {"chat": {"id": 7}, "text": "Count from 1 to 3"}},
        {"update_id": 6, "message": {"chat": {"id": 7}, "photo": []}},
        {"update_id": 7, "message": {"chat": {"id": 7}, "text": "Count from 4 to 5"}},
    ]
    with responses.RequestsMock() as telegram:
        # Requests to the emulator go through gigaclient's own connections.
        telegram.add_passthru(gigachat_emulator.client_options["base_url"].rsplit(":", 1)[0])
        telegram.get(f"{TELEGRAM}/getUpdates", json={"ok": True, "result": updates})
        telegram.post(f"{TELEGRAM}/sendMessage", json={"ok": True})
        assert recipes.poll("1:2") == 8
        sent = [json.loads(call.request.body) for call in telegram.calls if call.request.url.endswith("/sendMessage")]
    assert [(message["chat_id"], "3" in message["text"], "5" in message["text"]) for message in sent] == [
        (7, True, False),
        (7, False, True),
    ]
    assert len(recipes.talks[7].messages) == 5


def test_the_user_of_the_bot_gets_a_sentence_in_place_of_an_error(
    recipes: ModuleType, gigachat_emulator: GigaChatEmulator
) -> None:
    gigachat_emulator.inject(Fault(status=402))
    answer = recipes.reply(8, "Hello")
    assert "402" not in answer
    assert answer.endswith(".")


def test_the_next_key_answers_when_a_package_is_used_up(
    recipes: ModuleType, gigachat_emulator: GigaChatEmulator
) -> None:
    gigachat_emulator.inject(Fault(status=402))
    assert recipes.ask("Count from 1 to 3")
    gigachat_emulator.inject(Fault(status=402), times=2)
    with pytest.raises(PaymentRequiredError):
        recipes.ask("Hello")
