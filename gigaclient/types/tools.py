"""Token counts, balances and checks: responses of the auxiliary endpoints."""

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

# Not decoded further: the API does not define if they count from 0 or from 1.
if TYPE_CHECKING:
    Intervals = list[list[int]]
else:
    Intervals = Any


class TokensCount(APIResponse):
    """The length of a text: an item of ``POST /tokens/count``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-tokens-count

    Attributes:
        tokens: tokens, as counted for the requested model.
        characters: code points.
        object: the server's name for this kind of item.
    """

    tokens: int
    characters: int | None = None
    object: str | None = None

    def _repr_html_(self) -> str:
        from gigaclient.types.tables import table

        return table(("tokens", "characters"), [(self.tokens, self.characters)])


class BalanceValue(Record):
    """The rest of one package.

    Attributes:
        usage: the purpose of the package: a model, or ``embeddings``.
        value: remaining tokens.
    """

    usage: str
    value: float | None = None


class Balance(APIResponse):
    """The remaining tokens: ``GET /balance``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-balance

    Attributes:
        balance: one item for each package.
    """

    balance: list[BalanceValue]

    def _repr_html_(self) -> str:
        from gigaclient.types.tables import table

        return table(("package", "tokens left"), [(package.usage, package.value) for package in self.balance])


class AICheckResult(APIResponse):
    """The check if a text was written by a model: ``POST /ai/check``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-ai-check

    Attributes:
        category: ``ai``, ``human`` or ``mixed``; others may come.
        characters: the length of the text, as counted by the server.
        tokens: the cost of the check.
        ai_intervals: ranges of characters that a model wrote, as ``[start, end]``; only from the detecting model.
            Unchanged, because the documentation's examples count from 0 and from 1.
    """

    category: str
    characters: int | None = None
    tokens: int | None = None
    ai_intervals: Intervals | None = None


class OpenApiFunctions(APIResponse):
    """Functions from an OpenAPI description: ``POST /functions/convert``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-functions-convert

    Attributes:
        functions: values for ``functions`` of chat.
    """

    functions: list[Function]


class FunctionIssue(Record):
    """A problem of a function, or a suggestion.

    Attributes:
        description: the problem.
        schema_location: its position, such as ``(root).parameters.properties.port``.
    """

    description: str | None = None
    schema_location: str | None = None


class FunctionValidation(APIResponse):
    """The verdict about a function's specification: ``POST /functions/validate``.

    Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-functions-validate

    Attributes:
        message: the verdict as text.
        status: a code similar to HTTP's; its value for an invalid function is not documented.
        json_ai_rules_version: the version of the rules that were applied.
        errors: problems; None if the function is valid.
        warnings: suggestions; None if there are errors.
    """

    message: str
    status: int | None = None
    json_ai_rules_version: str | None = None
    errors: list[FunctionIssue] | None = None
    warnings: list[FunctionIssue] | None = None

    @property
    def valid(self) -> bool:
        """True if there are no errors and the verdict is not negative."""
        verdict = self.message.lower()
        refused = any(word in verdict for word in ("incorrect", "invalid", "not valid"))
        return not self.errors and not refused and (self.status is None or self.status < 400)


class FilterUsage(Record):
    """The cost of a filter check.

    Attributes:
        filter_tokens: tokens, as counted by the server.
    """

    filter_tokens: int | None = None


class FilterCheck(APIResponse):
    """The result of a filter check: ``POST /filter/check``.

    Attributes:
        is_profane: True if the filter would block the messages.
        usage: the cost of the check.
    """

    is_profane: bool
    usage: FilterUsage | None = None
