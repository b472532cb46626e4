"""Sort reviews: ``python examples/reviews/classify.py --emulator``, or without the option with GIGACHAT_CREDENTIALS.

Each review becomes a line of a checkpoint, so that the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gigaclient import ConfigError, GigaChat, GigaClientError

REVIEWS = Path(__file__).with_name("reviews.jsonl")
TEMPLATE = "Отзыв покупателя: {text}"
NO_KEY = "There is no key: set GIGACHAT_CREDENTIALS, or start with --emulator, which needs none."

FINISHED, SOME_FAILED, NOT_STARTED, INTERRUPTED = 0, 1, 2, 130


@dataclass
class Verdict:
    """Что сказано в отзыве покупателя.

    Attributes:
        mood: доволен ли автор; "нейтрально", если он и хвалит, и ругает, или ни то ни другое.
        topic: о чём отзыв прежде всего; "в целом", если ни о чём из прочего.
    """

    mood: Literal["хорошо", "плохо", "нейтрально"]
    topic: Literal["доставка", "качество", "цена", "поддержка", "в целом"]


def classify(giga: GigaChat, reviews: Path, checkpoint: Path) -> int:
    """Classify each review, and print the counts."""
    counts: Counter[tuple[str, str]] = Counter()
    results = giga.map(
        reviews, template=TEMPLATE, response_format=Verdict, temperature=0.1, max_tokens=100, checkpoint=checkpoint
    )
    with results:
        for result in results:
            if result.error is None:
                counts[result.value.topic, result.value.mood] += 1
            else:
                sys.stderr.write(f"review {result.index + 1}: {result.error}\n")
    done = results.progress
    for topic, count in Counter(topic for topic, _ in counts.elements()).most_common():
        moods = ", ".join(f"{mood} {n}" for (of, mood), n in counts.most_common() if of == topic)
        sys.stdout.write(f"{topic:<10} {count:>6}   {moods}\n")
    sys.stdout.write(
        f"{done.answered} sorted ({done.restored} were in {checkpoint.name}), {done.failed} failed, "
        f"{done.tokens} tokens, {done.seconds:.1f} s\n"
    )
    return SOME_FAILED if done.failed else FINISHED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description="Sort the reviews of a file by mood and topic.")
    parser.add_argument("reviews", nargs="?", type=Path, default=REVIEWS, help='JSON lines with a "text" in each')
    parser.add_argument("--checkpoint", type=Path, help="where results are kept (default: verdicts.jsonl, here)")
    parser.add_argument("--emulator", action="store_true", help="answer from the emulator, without a key")
    arguments = parser.parse_args(argv)
    checkpoint = arguments.checkpoint
    try:
        with contextlib.ExitStack() as stack:
            options = {}
            if arguments.emulator:
                from gigaclient.testing import GigaChatEmulator

                options = stack.enter_context(GigaChatEmulator(answer_pause_s=0.2, max_streams=2)).client_options
                # Another file, so that answers of the emulator are not taken for those of the service.
                checkpoint = checkpoint or Path("verdicts-emulator.jsonl")
            elif not any(os.environ.get(f"GIGACHAT_{name}") for name in ("CREDENTIALS", "ACCESS_TOKEN", "USER")):
                sys.stderr.write(NO_KEY + "\n")
                return NOT_STARTED
            giga = stack.enter_context(GigaChat(**options))
            return classify(giga, arguments.reviews, checkpoint or Path("verdicts.jsonl"))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return NOT_STARTED
    except GigaClientError as error:
        sys.stderr.write(f"{error}\nWhat was finished is kept: the same command goes on from there.\n")
        return SOME_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. What was finished is kept: the same command goes on from there.\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
