"""The scopes of authorization keys, and the search for the scope of a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gigaclient.errors import AuthenticationError

if TYPE_CHECKING:
    from gigaclient.gigachat.client import GigaChat

__all__ = ["SCOPES", "client_in_scope", "is_wrong_scope"]

SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")

_WRONG_SCOPE_CODE = 7  # of the OAuth host


def is_wrong_scope(error: BaseException) -> bool:
    """Return True if the service knows the key, and it belongs to another scope."""
    return isinstance(error, AuthenticationError) and error.code == _WRONG_SCOPE_CODE


def client_in_scope(make: Callable[[str], GigaChat], scopes: Iterable[str]) -> tuple[GigaChat, str]:
    """Return the client of the first scope that the service accepts, and this scope; close the other clients.

    Args:
        make: makes the client of a scope.
        scopes: the scopes to try; at least one.

    Raises:
        AuthenticationError: the service accepts none of them, or refuses the key.
        GigaClientError: a token could not be fetched.
    """
    refusal: BaseException | None = None
    for scope in scopes:
        client = make(scope)
        try:
            client.get_token()
        except BaseException as error:
            client.close()
            if not is_wrong_scope(error):
                raise
            refusal = refusal or error
        else:
            return client, scope
    assert refusal is not None, "at least one scope was tried"
    raise refusal
