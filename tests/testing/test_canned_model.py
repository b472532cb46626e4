"""Tests of the emulated model's answers."""

from __future__ import annotations

import pytest

from gigaclient.testing.canned_model import answer, cut_to_tokens, is_russian, tokens, words


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Say 'Hello' and nothing else", "Hello"),
        ("Please repeat only the word ready and nothing else.", "ready"),
        ("Скажи «да» и больше ничего", "да"),
        ("Повтори только слово привет и больше ничего", "привет"),
        ("Repeat: один, two, 三", "один, two, 三"),
        ("Count from 1 to 5", "1, 2, 3, 4, 5"),
        ("Count to 3", "1, 2, 3"),
        ("Посчитай от 3 до -1", "3, 2, 1, 0, -1"),
        ("What is 12 times 12?", "12 * 12 = 144"),
        ("Сколько будет 2+2*3?", "2 + 2 * 3 = 8"),
        ("(2 + 2) * 3 = ?", "(2 + 2) * 3 = 12"),
        ("сколько будет 7 разделить на 2", "7 / 2 = 3.5"),
        ("Сколько будет 12 × 12?", "12 * 12 = 144"),
    ],
)
def test_simple_questions_have_right_answers(prompt: str, text: str) -> None:
    assert answer(prompt) == text


@pytest.mark.parametrize(
    "prompt", ["Hello!", "Explain why glaciers move", "Объясни квантовую запутанность", "5/0", "7 * (2", "{0}"]
)
def test_any_other_answer_repeats_the_prompt_in_its_language(prompt: str) -> None:
    text = answer(prompt)
    assert prompt in text and "gigaclient.testing" in text
    assert is_russian(text) is is_russian(prompt)
    assert text == answer(prompt)
    assert len(words(text)) > 20


@pytest.mark.parametrize(("prompt", "count"), [("Write 250 words", 250), ("Напиши 7 слов", 7), ("1 word please", 1)])
def test_the_number_of_words_is_as_requested(prompt: str, count: int) -> None:
    assert len(answer(prompt).split()) == count


@pytest.mark.parametrize("prompt", ["", " ", "\u2028", "?", "🙂" * 10])
def test_there_is_always_an_answer(prompt: str) -> None:
    assert answer(prompt)


@pytest.mark.parametrize("filler", [" ", "(", "-1", "word ", "a", "1.", "\n", "'", "«"])
def test_a_long_prompt_does_not_hang(filler: str) -> None:
    for start in ("", "say ", "What is 1 "):
        assert answer(start + filler * (300_000 // len(filler)))


@pytest.mark.parametrize("text", ["a b  c", " a\n\nb ", "", "один\u2028два", "x"])
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(words(text)) == text


def test_tokens_are_counted_by_three_and_a_half_characters() -> None:
    assert [tokens("x" * length) for length in (0, 1, 3, 4, 7, 8)] == [0, 1, 1, 2, 2, 3]
    for limit in range(1, 20):
        assert tokens(cut_to_tokens("x" * 1000, limit)) == limit
