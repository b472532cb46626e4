"""Counts, balances and checks: answers of the endpoints that help around chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigaclient.types.base import APIResponse, Record
from gigaclient.types.chat import Function

__all__ = [
    "AICheckResult",
    "Balance",
    "BalanceValue",
    "FilterCheck",
    "FilterUsage",
    "FunctionIssue",
    "FunctionValidation",
    "OpenApiFunctions",
    "TokensCount",
]

# Passed on as they come: it is not even settled whether they count from 0 or from 1.
if TYPE_CHECKING:
    Intervals = list[list[int]]
else:
    Intervals = Any


class TokensCount(APIResponse):
    """How long a text is: an item of ``POST /tokens/count``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-tokens-count

    Attributes:
        tokens: tokens, as the model that was named counts them.
        characters: code points.
        object: what the server calls this kind of item.
    """

    tokens: int
    characters: int | None = None
    object: str | None = None

    def _repr_html_(self) -> str:
        from gigaclient.types.tables import table  # for notebooks

        return table(("tokens", "characters"), [(self.tokens, self.characters)])


class BalanceValue(Record):
    """What is left of one package.

    Attributes:
        usage: what the package is for: a model, or ``embeddings``.
        value: tokens that are left.
    """

    usage: str
    value: float | None = None


class Balance(APIResponse):
    """The tokens that are left: ``GET /balance``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-balance

    Attributes:
        balance: one item for each package.
    """

    balance: list[BalanceValue]

    def _repr_html_(self) -> str:
        from gigaclient.types.tables import table  # for notebooks

        return table(("package", "tokens left"), [(package.usage, package.value) for package in self.balance])


class AICheckResult(APIResponse):
    """Whether a text was written by a model: ``POST /ai/check``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-ai-check

    Attributes:
        category: ``ai``, ``human`` or ``mixed``; others may come.
        characters: the text's length as the server counted it.
        tokens: what the check cost.
        ai_intervals: ranges of characters that a model wrote, as ``[start, end]``; for the model that detects. As the
            server sent them: the documentation's own samples begin at 0 here and at 1 there.
    """

    category: str
    characters: int | None = None
    tokens: int | None = None
    ai_intervals: Intervals | None = None


class OpenApiFunctions(APIResponse):
    """Functions made of an OpenAPI description: ``POST /functions/convert``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-functions-convert

    Attributes:
        functions: ready to be passed to chat as ``functions``.
    """

    functions: list[Function]


class FunctionIssue(Record):
    """Something that the service finds wrong with a function, or would have otherwise.

    Attributes:
        description: what.
        schema_location: where, such as ``(root).parameters.properties.port``.
    """

    description: str | None = None
    schema_location: str | None = None


class FunctionValidation(APIResponse):
    """What the service says about a function's description: ``POST /functions/validate``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-functions-validate

    Attributes:
        message: the verdict in words.
        status: a code in the manner of HTTP; what it is for a function that is wrong is not documented.
        json_ai_rules_version: the version of the rules that were applied.
        errors: what has to be mended; none when the function is good.
        warnings: what could be better; none when there are errors.
    """

    message: str
    status: int | None = None
    json_ai_rules_version: str | None = None
    errors: list[FunctionIssue] | None = None
    warnings: list[FunctionIssue] | None = None

    @property
    def valid(self) -> bool:
        """Whether the function can be used as it is: no errors, and the verdict is not a bad one."""
        verdict = self.message.lower()
        refused = any(word in verdict for word in ("incorrect", "invalid", "not valid"))
        return not self.errors and not refused and (self.status is None or self.status < 400)


class FilterUsage(Record):
    """What a check by the filter cost.

    Attributes:
        filter_tokens: tokens, as the server counted.
    """

    filter_tokens: int | None = None


class FilterCheck(APIResponse):
    """Whether the content filter would step in: ``POST /filter/check``.

    Attributes:
        is_profane: True when it would.
        usage: what the check cost.
    """

    is_profane: bool
    usage: FilterUsage | None = None
