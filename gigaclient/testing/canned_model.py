"""The answers of the emulated model: echo, counting and arithmetic. All other answers must be scripted.

The same prompt always gets the same answer. A prompt in Russian gets a Russian one, any other an English one.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

__all__ = ["answer", "cut_to_tokens", "is_russian", "stems", "tokens", "words"]

CHARACTERS_PER_TOKEN = 3.5
_MAX_COUNT = 100_000
_MAX_EXPRESSION_CHARACTERS = 300


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
    """Return the longer words of ``text`` without their endings, so that inflected forms are equal."""
    split = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).replace("_", " ").lower()
    return [word[: min(5, len(word) - 1)] for word in re.findall(r"[^\W\d_]{4,}", split)]


def answer(prompt: str) -> str:
    """Return the answer to ``prompt``, the last user message of a dialogue."""
    prompt = prompt.strip()
    echoed = _echo(prompt)
    if echoed is not None:
        return echoed
    # Only the beginning and the end of a long prompt, where the question is: the patterns are slow on long texts.
    prompt = prompt if len(prompt) <= 4000 else f"{prompt[:2000]} {prompt[-2000:]}"
    text = _DEFAULT_RUSSIAN if is_russian(prompt) else _DEFAULT_ENGLISH
    return _repeat_word(prompt) or _count(prompt) or _calculate(prompt) or text.format(prompt[:200])


_DEFAULT_ENGLISH = (
    "This answer comes from the emulator of gigaclient.testing, which has no model. It repeats texts, counts and "
    "calculates; script any other answer with its method answer(). The prompt was: “{}”"
)
_DEFAULT_RUSSIAN = (
    "Это ответ эмулятора из gigaclient.testing, за которым нет модели. Он повторяет тексты, считает и вычисляет; "
    "любой другой ответ задайте его методом answer(). Вопрос был такой: “{}”"
)


# --- echo ------------------------------------------------------------------------------------------------------

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


# --- counting and arithmetic -----------------------------------------------------------------------------------


def _repeat_word(prompt: str) -> str | None:
    found = re.search(r"\b(\d{1,6})\s+(words?|слов[ао]?)\b", prompt, re.IGNORECASE)
    if found is None:
        return None
    word = "word" if found[2].lower().startswith("word") else "слово"
    return " ".join([word] * min(int(found[1]), _MAX_COUNT))


def _count(prompt: str) -> str | None:
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
    last = max(min(last, first + _MAX_COUNT), first - _MAX_COUNT)
    return ", ".join(str(number) for number in range(first, last + step, step))


_SIGNS = (
    (r"\b(?:plus|плюс)\b", "+"),
    (r"\b(?:minus|минус)\b|[−–]", "-"),
    (r"\b(?:times|умножить на)\b|[×·]", "*"),
    (r"\b(?:divided by|разделить на)\b|÷", "/"),
)
_OPERATORS: Mapping[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _calculate(prompt: str) -> str | None:
    for pattern, sign in _SIGNS:
        prompt = re.sub(pattern, f" {sign} ", prompt, flags=re.IGNORECASE)
    found = re.search(r"(?<![\w-])[-(\s]*\d[\d.()\s]*(?:[-+*/][-(\s]*\d[\d.()\s]*)+", prompt)
    if found is None or len(found[0]) > _MAX_EXPRESSION_CHARACTERS or re.search(r"\d{4}-\d\d-\d\d", prompt):
        return None
    expression = " ".join(found[0].rstrip(". ").split())
    try:
        value = _evaluate(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError):
        return None
    shown = re.sub(r"\s*([-+*/])\s*", r" \1 ", expression).strip()
    return f"{shown} = {value if value.denominator == 1 else format(float(value), '.6g')}"


def _evaluate(node: ast.expr) -> Fraction:
    """Evaluate numbers and ``+ - * /`` exactly; raise ``ValueError`` for anything else."""
    if isinstance(node, ast.Constant):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    raise ValueError("not arithmetic")
