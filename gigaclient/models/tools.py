"""Our types under the names of the official SDK's ``gigachat.models.tools``."""

from __future__ import annotations

from gigaclient import types

AICheckResult = types.AICheckResult
Balance = types.Balance
BalanceValue = types.BalanceValue
OpenApiFunctions = types.OpenApiFunctions
TokensCount = types.TokensCount
