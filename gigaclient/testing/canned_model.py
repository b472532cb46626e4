"""The answers of the emulated model: a few rules, which give the same answer to the same prompt every time.

The answer is in Russian if the prompt has Cyrillic letters, otherwise in English.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

__all__ = ["answer", "cut_to_tokens", "is_russian", "stems", "tokens", "words"]

CHARACTERS_PER_TOKEN = 3.5
_LONGEST_COUNT = 100_000


def tokens(text: str) -> int:
    """Count the tokens of ``text``: one for each 3.5 characters, rounded up."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def cut_to_tokens(text: str, limit: int) -> str:
    """Return the longest prefix of ``text`` with at most ``limit`` tokens."""
    return text[: int(limit * CHARACTERS_PER_TOKEN)]


def words(text: str) -> list[str]:
    """Split ``text`` into words, each with the space before it."""
    return re.findall(r"\s*\S+|\s+\Z", text)


def is_russian(text: str) -> bool:
    """Return True if at least a third of the letters in ``text`` are Cyrillic."""
    cyrillic = len(re.findall(r"[а-яё]", text, re.IGNORECASE))
    return cyrillic > 0 and cyrillic * 2 >= len(re.findall(r"[a-z]", text, re.IGNORECASE))


def stems(text: str) -> list[str]:
    """Return the first letters of the significant words of ``text``, so that inflected forms are equal."""
    split = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).replace("_", " ").lower()
    found = re.findall(r"[^\W\d_]{3,}", split)
    return [word[:5] if len(word) > 5 else word[: max(3, len(word) - 1)] for word in found if word not in _EMPTY_WORDS]


def answer(messages: Sequence[Mapping[str, Any]], *, name: str) -> str:
    """Return the answer to ``messages`` (``role`` and ``content`` of each) of the model called ``name``."""
    asked = [message for message in messages if message.get("role") == "user"]
    prompt = str(asked[-1].get("content") or "").strip() if asked else ""
    earlier = "\n".join(str(message.get("content") or "") for message in asked[:-1])
    system = "\n".join(str(m.get("content") or "") for m in messages if m.get("role") == "system")
    russian = is_russian(prompt or system)
    text = _echo(prompt)
    if text is not None:
        return text
    # Only the beginning and the end of a long prompt, where the question is: the patterns are slow on long texts.
    prompt = prompt if len(prompt) <= 4000 else f"{prompt[:2000]} {prompt[-2000:]}"
    for rule in (_many_words, _count, _arithmetic, _their_name, _geography, _poem, _my_name, _greeting):
        text = rule(prompt, russian, name, earlier)
        if text is not None:
            return text
    text = _thought(prompt, russian)
    if re.search(r"brief|кратк|коротк", f"{system} {prompt}", re.IGNORECASE):
        return text.split(". ")[0].rstrip(".") + "."
    return text


# --- the rules; the first match wins ---------------------------------------------------------------------------

_OPEN, _CLOSE = "'\"“«‘`", "'\"”»’`"
_SAY = re.compile(
    rf"(?is)^\s*(?:please[, ]+|пожалуйста[, ]+)?"
    rf"(?:say|repeat|echo|write|print|answer|reply|respond|скажи|повтори|напиши|ответь|выведи)(?:те)?\b"
    rf"(?:\s+(?:only|just|exactly|with|the words?|after me|только|лишь|ровно|слов[оа]|за мной))*\s*:?\s*"
    rf"(?:[{_OPEN}](?P<quoted>.+?)[{_CLOSE}](?:[\s,.!]|$)|(?P<plain>.+?)(?=,?\s+(?:"
    rf"and nothing (?:else|more)|nothing else|и (?:больше ничего|ничего (?:больше|кроме|другого)|вс[её]))))"
)


def _echo(prompt: str) -> str | None:
    found = _SAY.match(prompt)
    if found is None:
        repeated = re.match(r"(?is)\s*(?:say|repeat|echo|скажи|повтори)(?:те)?\s*:\s*(.+)", prompt)
        return repeated[1].strip() if repeated is not None else None
    return (found["quoted"] or found["plain"]).strip()


def _many_words(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    found = re.search(r"\b(\d{1,6})\s+(?:words?|слов[ао]?)\b", prompt, re.IGNORECASE)
    if found is None:
        return None
    vocabulary = _LONG_RUSSIAN if russian else _LONG_ENGLISH
    wanted = min(int(found[1]), _LONGEST_COUNT)
    chosen = [vocabulary[index % len(vocabulary)] for index in range(wanted)]
    return " ".join(chosen).capitalize() + "." if chosen else ""


def _count(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    if not re.search(r"\b(?:count|numbers|посчитай|сосчитай|считай|перечисли|числа)", prompt, re.IGNORECASE):
        return None
    found = re.search(r"(-?\d+)\s*(?:to|until|till|through|and|до|по|и|-|–|—|\.\.+)\s*(-?\d+)", prompt, re.IGNORECASE)
    if found is None:
        only = re.search(r"(?:\bto|\bдо)\s+(\d+)", prompt, re.IGNORECASE)
        if only is None:
            return None
        first, last = 1, int(only[1])
    else:
        first, last = int(found[1]), int(found[2])
    step = 1 if last >= first else -1
    last = max(min(last, first + _LONGEST_COUNT), first - _LONGEST_COUNT)
    return ", ".join(str(number) for number in range(first, last + step, step))


_IN_WORDS = (
    (r"\b(?:plus|плюс)\b", "+"),
    (r"\b(?:minus|минус)\b", "-"),
    (r"\b(?:times|multiplied by|умножить на|умноженное на)\b", "*"),
    (r"\b(?:divided by|over|разделить на|делить на|деленное на|делённое на)\b", "/"),
    (r"[×·]|(?<=\d)\s*[xх]\s*(?=\d)", "*"),
    (r"[÷]|(?<=\d)\s*:\s*(?=\d)", "/"),
    (r"[−–]", "-"),
)


def _arithmetic(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    text = prompt
    for pattern, sign in _IN_WORDS:
        text = re.sub(pattern, f" {sign} ", text, flags=re.IGNORECASE)
    found = re.search(r"(?<![\w-])[-(\s]*\d[\d.()\s]*(?:[-+*/][-(\s]*\d[\d.()\s]*)+", text)
    if found is None or re.search(r"\d{4}-\d\d-\d\d", prompt):
        return None
    expression = found[0].strip().rstrip(".").strip()
    try:
        value = _Calculation(expression).value()
    except ZeroDivisionError:
        return "На ноль делить нельзя." if russian else "There is no dividing by zero."
    except ValueError:
        return None
    shown = re.sub(r"\s*([-+*/])\s*", r" \1 ", re.sub(r"\s+", " ", expression)).strip()
    return f"{shown} = {_number(value)}"


class _Calculation:
    """Recursive descent over ``+ - * / ( )`` with exact fractions."""

    def __init__(self, expression: str) -> None:
        self._tokens = re.findall(r"\d+(?:\.\d+)?|[-+*/()]", expression)[:200]

    def value(self) -> Fraction:
        value = self._sum()
        if self._tokens:
            raise ValueError("something is left over")
        return value

    def _sum(self) -> Fraction:
        value = self._product()
        while self._tokens and self._tokens[0] in "+-":
            value = value + self._product() if self._tokens.pop(0) == "+" else value - self._product()
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while self._tokens and self._tokens[0] in "*/":
            value = value * self._factor() if self._tokens.pop(0) == "*" else value / self._factor()
        return value

    def _factor(self) -> Fraction:
        if not self._tokens:
            raise ValueError("the expression ends too early")
        token = self._tokens.pop(0)
        if token == "-":
            return -self._factor()
        if token == "(":
            value = self._sum()
            if not self._tokens or self._tokens.pop(0) != ")":
                raise ValueError("a bracket is not closed")
            return value
        return Fraction(token)


def _number(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.6g}"


_CALLED = re.compile(r"(?i)(?:my name is|call me|меня зовут|моё имя|мое имя)\s*[-—:]?\s*([^\W\d_][\w-]*)")


def _their_name(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    if re.search(r"what(?:'s| is) my name|who am i|как меня зовут|моё имя\?|мое имя\?|кто я\b", prompt, re.IGNORECASE):
        told = _CALLED.findall(earlier)
        if told:
            return f"Вас зовут {told[-1]}." if russian else f"Your name is {told[-1]}."
        return "Вы ещё не сказали, как вас зовут." if russian else "You have not told me your name yet."
    told = _CALLED.findall(prompt)
    if told:
        return f"Приятно познакомиться, {told[-1]}!" if russian else f"Nice to meet you, {told[-1]}!"
    return None


_CAPITALS = (
    (r"росси|russia", "Россия", "Москва", "Russia", "Moscow"),
    (r"франц|france", "Франция", "Париж", "France", "Paris"),
    (r"итал|italy", "Италия", "Рим", "Italy", "Rome"),
    (r"япон|japan", "Япония", "Токио", "Japan", "Tokyo"),
    (r"кита[йяею]|china", "Китай", "Пекин", "China", "Beijing"),
    (r"герман|germany", "Германия", "Берлин", "Germany", "Berlin"),
    (r"испан|spain", "Испания", "Мадрид", "Spain", "Madrid"),
    (r"норвег|norway", "Норвегия", "Осло", "Norway", "Oslo"),
    (r"финлянд|finland", "Финляндия", "Хельсинки", "Finland", "Helsinki"),
    (r"егип|egypt", "Египет", "Каир", "Egypt", "Cairo"),
    (r"бразил|brazil", "Бразилия", "Бразилиа", "Brazil", "Brasília"),
    (r"инди|india", "Индия", "Нью-Дели", "India", "New Delhi"),
)
_RIVERS_RUSSIAN = ("Лена", "Енисей", "Обь", "Волга", "Амур")
_RIVERS_ENGLISH = ("Lena", "Yenisei", "Ob", "Volga", "Amur")


def _geography(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    lower = prompt.lower()
    if re.search(r"capital|столиц", lower):
        for pattern, _, capital_ru, country, capital in _CAPITALS:
            if re.search(rf"\b(?:{pattern})", lower):
                country_ru = re.search(r"столиц\w*\s+([^\W\d_]+)", prompt, re.IGNORECASE)
                if russian:
                    return f"Столица {country_ru[1] if country_ru else 'этой страны'} — {capital_ru}."
                return f"The capital of {country} is {capital}."
    if re.search(r"\brivers\b|\bреки\b|\bрек\b", lower):
        return ", ".join(_RIVERS_RUSSIAN if russian else _RIVERS_ENGLISH) + "."
    if re.search(r"\briver\b|\bрек[ауе]\b", lower):
        return "Лена." if russian else "The Lena."
    return None


def _poem(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    if russian and re.search(r"\bстих|поэм|четверостиш", prompt, re.IGNORECASE):
        return (
            "Над рекою тихий вечер,\nГаснет в окнах синий свет,\nСлово к слову, ветру встречный,\nПо воде бежит ответ."
        )
    if re.search(r"\bpoem|\bverse|\brhyme|\bhaiku", prompt, re.IGNORECASE):
        return (
            "The evening settles on the stream,\nThe windows dim their light,\n"
            "And word by word, as in a dream,\nThe answer sails the night."
        )
    return None


def _my_name(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    if not re.search(
        r"your name|who are you|what are you\b|как (?:тебя|вас) зовут|(?:кто|что) (?:ты|вы)\b|тво[её] имя|представься",
        prompt,
        re.IGNORECASE,
    ):
        return None
    if russian:
        return f"Меня зовут {name}. Точнее, я его эмулятор из gigaclient.testing: настоящей модели за мной нет."
    return f"My name is {name}. To be exact, I am its emulator from gigaclient.testing: no real model is behind me."


def _greeting(prompt: str, russian: bool, name: str, earlier: str) -> str | None:
    if not re.match(
        r"\W*(?:hello|hi|hey|good (?:morning|day|evening|afternoon)|greetings|"
        r"привет|приветствую|здравствуй|здравствуйте|добр(?:ый|ое|ого)|салют)\b",
        prompt,
        re.IGNORECASE,
    ):
        return None
    return "Здравствуйте! Чем я могу вам помочь?" if russian else "Hello! How can I help you today?"


def _thought(prompt: str, russian: bool) -> str:
    own = _own_words(prompt)
    if russian:
        if not own:
            return "Я готов помочь. Напишите, пожалуйста, о чём пойдёт речь, и я постараюсь ответить по существу."
        return (
            f"Это интересный вопрос. Речь идёт о следующем: {', '.join(own)}. "
            "Полезно начать с главного, разобрать его на простые части и проверить каждую на примере. "
            "Если уточните, что для вас важнее всего, я отвечу подробнее."
        )
    if not own:
        return "I am ready to help. Tell me what it is about, and I will try to answer to the point."
    return (
        f"That is a good question. It is about the following: {', '.join(own)}. "
        "It helps to begin with what matters most, to take it apart into simple pieces, and to try each on an example. "
        "If you tell me which side of it you care about, I can say more."
    )


def _own_words(prompt: str) -> list[str]:
    """Return up to four of the longest words of the prompt, in their order."""
    different = dict.fromkeys(re.findall(r"[^\W\d_][\w-]{3,}", prompt))
    found = [word for word in different if word.lower() not in _EMPTY_WORDS]
    chosen = set(sorted(found, key=len, reverse=True)[:4])
    return [word for word in found if word in chosen]


_EMPTY_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    the and for with that this from what which when where who how why are was were can could would should will does did
    you your please tell explain about get find give show make let its not any all use using into out has have had
    there here they them then than over under some such need want know like answer question following user returns
    как что это для или при про над под чем где кто когда зачем почему какой какая какие какое каков какова мне меня
    тебе вас вам его она они оно был была было были есть нет так там тут если чтобы можно нужно надо пожалуйста скажи
    расскажи покажи дай сделай пользователь возвращает получить узнать найти ответь напиши объясни хочу знать
        """,
    )
)
_LONG_RUSSIAN = re.findall(
    r"\w+",
    "река течёт медленно и широко мимо тихих городов старых садов светлых полей где люди каждое утро начинают новый "
    "день пьют чай читают письма строят дома учат детей и вечером снова смотрят на воду",
)
_LONG_ENGLISH = re.findall(
    r"\w+",
    "the river runs slowly and wide past quiet towns old gardens and bright fields where people begin every new day "
    "with tea read their letters build houses teach children and in the evening look at the water once more",
)
