"""The balance of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient import types
from gigaclient.errors import ForbiddenError
from gigaclient.gigachat.resource import APIResource
from gigaclient.gigachat.resources._validation import advising
from gigaclient.transport.request import Request

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["AccountEndpoints"]


class AccountEndpoints(APIResource):
    """``/balance``."""

    def get_balance(self, **options: Unpack[CallSettings]) -> types.Balance:
        """Return the remaining tokens: ``GET /balance``.

        Args:
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            One item for each package as ``.balance``: its purpose (``.usage``) and the remaining tokens (``.value``).

        Raises:
            ForbiddenError: this key is pay-as-you-go, so it has no package and no balance.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-balance
        """
        with advising(
            ForbiddenError,
            "a balance is what is left of packages of tokens; a plan that pays as it goes has none, which is normal",
        ):
            return self._request(Request("GET", "/balance"), types.Balance, options)
