"""The command ``gigaclient demo``: both providers answer one prompt and stream another over TLS.

The first answer is a replay of a stream that was recorded from the GigaChat API. Without a key, the emulator answers
the rest. With ``GIGACHAT_CREDENTIALS`` set, GigaChat answers. FakeGpt always uses the emulator, because its public host
no longer exists.
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

_PROMPT = "What is 12 times 12?"
_STREAMED_PROMPT = "Посчитай от 1 до 10"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo. Return 0, or 1 with an error message when a provider failed."""
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
        emulated_giga = stack.enter_context(GigaChat(**emulator.client_options))
        giga = stack.enter_context(GigaChat()) if live else emulated_giga
        fakegpt_emulator = stack.enter_context(FakeGptEmulator(event_pause_s=pause))
        fake = stack.enter_context(FakeGpt(**fakegpt_emulator.client_options))

        _title("A recorded answer of the live GigaChat API, replayed over TLS and decoded by the client")
        emulator.replay("v1-stream.sse")
        answers.append(_show_stream(emulated_giga, "Count from 1 to 3"))

        _title(f"GigaChat {'at ' + giga.base_url if live else '(emulator)'}")
        answers.append(_show_answer(giga, _PROMPT))
        answers.append(_show_stream(giga, _STREAMED_PROMPT))

        _title("FakeGpt (emulator)")
        answers.append(_show_answer(fake, _PROMPT))
        answers.append(_show_stream(fake, _STREAMED_PROMPT))

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
