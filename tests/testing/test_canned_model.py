"""Tests of the emulated model's answers."""

from __future__ import annotations

import time

import pytest

from gigaclient.testing.canned_model import answer, cut_to_tokens, is_russian, tokens, words


def say(prompt: str, *before: tuple[str, str]) -> str:
    messages = [{"role": role, "content": content} for role, content in (*before, ("user", prompt))]
    return answer(messages, name="GigaChat")


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
        ("5/0", "There is no dividing by zero."),
        ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
        ("Столица Франции?", "Столица Франции — Париж."),
        ("Name a river", "The Lena."),
        ("Назови реку", "Лена."),
        ("Какие есть реки?", "Лена, Енисей, Обь, Волга, Амур."),
        ("Hello!", "Hello! How can I help you today?"),
        ("Привет", "Здравствуйте! Чем я могу вам помочь?"),
        ("Здравствуйте, эмулятор", "Здравствуйте! Чем я могу вам помочь?"),
        ("Меня зовут Олег", "Приятно познакомиться, Олег!"),
    ],
)
def test_simple_questions_have_right_answers(prompt: str, text: str) -> None:
    assert say(prompt) == text


def test_it_says_what_it_is() -> None:
    assert say("What is your name?").startswith("My name is GigaChat. To be exact, I am its emulator")
    assert "эмулятор" in say("Как тебя зовут?")


def test_it_remembers_what_the_user_said_before() -> None:
    assert say("What is my name?", ("user", "My name is Anna"), ("assistant", "Hi")) == "Your name is Anna."
    assert say("Как меня зовут?") == "Вы ещё не сказали, как вас зовут."


@pytest.mark.parametrize(
    ("prompt", "own"),
    [("Explain why glaciers move", ["glaciers"]), ("Объясни квантовую запутанность", ["квантовую", "запутанность"])],
)
def test_anything_else_is_taken_up_in_its_own_words_and_language(prompt: str, own: list[str]) -> None:
    said = say(prompt)
    assert all(word in said for word in own)
    assert is_russian(said) is is_russian(prompt)
    assert said == say(prompt)
    assert len(words(said)) > 20


def test_a_brief_answer_is_one_sentence() -> None:
    assert say("Explain why glaciers move", ("system", "Answer briefly.")) == "That is a good question."


@pytest.mark.parametrize(("prompt", "count"), [("Write 250 words", 250), ("Напиши 7 слов", 7), ("1 word please", 1)])
def test_so_many_words_are_so_many_words(prompt: str, count: int) -> None:
    assert len(say(prompt).split()) == count


def test_poems_have_lines() -> None:
    assert say("Write a poem").count("\n") == say("Напиши стихотворение").count("\n") == 3


@pytest.mark.parametrize("prompt", ["", " ", "\u2028", "?", "🙂" * 10])
def test_there_is_always_an_answer(prompt: str) -> None:
    assert say(prompt)


@pytest.mark.parametrize("filler", [" ", "(", "-1", "word ", "a", "1.", "\n", "'", "«"])
def test_a_whole_book_is_answered_in_no_time(filler: str) -> None:
    begun = time.monotonic()
    for start in ("", "say ", "What is 1 "):
        assert say(start + filler * (300_000 // len(filler)))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("text", ["a b  c", " a\n\nb ", "", "один\u2028два", "x"])
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(words(text)) == text


def test_tokens_are_counted_by_three_and_a_half_characters() -> None:
    assert [tokens("x" * length) for length in (0, 1, 3, 4, 7, 8)] == [0, 1, 1, 2, 2, 3]
    for limit in range(1, 20):
        assert tokens(cut_to_tokens("x" * 1000, limit)) == limit
