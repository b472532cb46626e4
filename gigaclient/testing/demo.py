"""``gigaclient demo``: both providers answer one prompt and stream another, token by token, over real TLS.

Without a key everything is answered by the embedded emulator, and the first answer is a replay of a stream recorded
from the live GigaChat API, decoded by the same code that decodes live ones. With ``GIGACHAT_CREDENTIALS`` set GigaChat
itself answers; FakeGpt, whose public host is gone, stays with the emulator.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from gigaclient import ChatCompletion, ChatProvider, FakeGpt, GigaChat, GigaClientError
from gigaclient.testing import FakeGptEmulator, GigaChatEmulator

__all__ = ["main"]

_ASK = "What is the capital of Russia?"
_STREAM = "Посчитай от 1 до 10"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns 0, or 1 with one sentence when a provider failed."""
    parser = argparse.ArgumentParser(prog="gigaclient demo", description=__doc__, add_help=True)
    parser.add_argument("--pause", type=float, default=0.05, metavar="S", help="seconds between the emulator's events")
    arguments = parser.parse_args(argv)
    try:
        _run(arguments.pause)
    except GigaClientError as error:
        sys.stderr.write(f"\nthe demo failed: {error}\n")
        return 1
    return 0


def _run(pause: float) -> None:
    started_at = time.monotonic()
    live = bool(os.environ.get("GIGACHAT_CREDENTIALS", "").strip())
    answers: list[ChatCompletion] = []
    with ExitStack() as stack:
        emulator = stack.enter_context(GigaChatEmulator(event_pause_s=pause))
        replayed = stack.enter_context(GigaChat(**emulator.client_options))
        giga = stack.enter_context(GigaChat()) if live else replayed
        pool = stack.enter_context(FakeGptEmulator(event_pause_s=pause))
        fake = stack.enter_context(FakeGpt(**pool.client_options))

        _title("A recorded answer of the live GigaChat API, replayed over TLS and decoded by the real path")
        emulator.replay("v1-stream.sse")
        answers.append(_show_stream(replayed, "Count from 1 to 3"))

        _title(f"GigaChat {'at ' + giga.base_url if live else '(emulator)'}")
        answers.append(_show_answer(giga, _ASK))
        answers.append(_show_stream(giga, _STREAM))

        _title("FakeGpt (emulator)")
        answers.append(_show_answer(fake, _ASK))
        answers.append(_show_stream(fake, _STREAM))

    characters = sum(len(answer.text) for answer in answers)
    tokens = sum(answer.usage.total_tokens for answer in answers if answer.usage is not None)
    seconds = time.monotonic() - started_at
    print(f"\nTotal: {len(answers)} answers, {characters} characters, {tokens} tokens in {seconds:.1f} s.")


def _title(text: str) -> None:
    print(f"\n== {text}")


def _show_answer(provider: ChatProvider, prompt: str) -> ChatCompletion:
    print(f"> {prompt}")
    answer = provider.chat(prompt)
    print(answer.text)
    return answer


def _show_stream(provider: ChatProvider, prompt: str) -> ChatCompletion:
    print(f"> {prompt}   [streamed]")
    with provider.stream(prompt) as stream:
        pieces = 0
        for chunk in stream:
            if chunk.text:
                pieces += 1
                print(chunk.text, end="", flush=True)
        print(f"   [{pieces} pieces]")
        return stream.completion
