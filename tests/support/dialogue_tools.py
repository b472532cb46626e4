"""A scripted answer that depends on the dialogue, for tests of what a client sends again with its next question."""

from __future__ import annotations

import re

from gigaclient.testing import RecordedRequest


def name_of_the_user(request: RecordedRequest) -> str | None:
    """Answer the question for the user's name from the other messages; return None for any other question.

    Use it as ``emulator.answer(name_of_the_user, times=None)``.
    """
    prompts = [message["content"] for message in request.json()["messages"] if message["role"] == "user"]
    if not re.search(r"my name\?|зовут\?", prompts[-1]):
        return None
    names = re.findall(r"(?:My name is|Меня зовут) (\w+)", "\n".join(prompts))
    return f"It is {names[-1]}." if names else "You have not told me."
