"""Our types under the names of the official SDK's ``gigachat.models.tools``."""

from __future__ import annotations

from gigaclient.types import AICheckResult, Balance, BalanceValue, OpenApiFunctions, TokensCount

__all__ = [
    "AICheckResult",
    "Balance",
    "BalanceValue",
    "OpenApiFunctions",
    "TokensCount",
]
