"""tenacity around a client without retries."""

from __future__ import annotations

from typing import Any

import pytest
import tenacity
from support.pages import snippets

from gigaclient import BadRequestError, GigaChat, RateLimitError
from gigaclient.testing import Fault, GigaChatEmulator


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """Return the retry rule and the wait function of the page."""
    code = next(snippet for snippet in snippets("en/ecosystem") if "import tenacity" in snippet)
    namespace: dict[str, Any] = {}
    exec(code.partition("with GigaChat(")[0], namespace)
    return namespace


def test_the_pages_rule_retries_transient_errors_and_waits_for_retry_after(
    gigachat_emulator: GigaChatEmulator, recipe: dict[str, Any]
) -> None:
    slept: list[float] = []
    with GigaChat(**gigachat_emulator.client_options, max_retries=0) as giga:
        ask = tenacity.retry(
            retry=tenacity.retry_if_exception(recipe["is_worth_it"]),
            wait=recipe["wait"],
            stop=tenacity.stop_after_attempt(3),
            sleep=slept.append,
            reraise=True,
        )(giga.chat)
        gigachat_emulator.inject(Fault(status=429, retry_after=7))
        gigachat_emulator.inject(Fault(status=503))
        assert ask("Count from 1 to 5").text == "1, 2, 3, 4, 5"
        assert slept[0] == 7
        assert 0 <= slept[1] <= 30
        assert len(gigachat_emulator.chats) == 3
        gigachat_emulator.inject(Fault(status=429), times=None)
        with pytest.raises(RateLimitError):
            ask("Hello!")
        assert len(gigachat_emulator.chats) == 6
        gigachat_emulator.clear()
        gigachat_emulator.inject(Fault(status=400))
        with pytest.raises(BadRequestError):
            ask("Hello!")
        assert len(gigachat_emulator.chats) == 7
