"""Asking for a key so that no notebook ever holds it, and saying what it is good for."""

from __future__ import annotations

import getpass
import html
from collections.abc import Sequence
from typing import Any

from gigaclient._primitives.secret import Secret
from gigaclient.cli import credentials
from gigaclient.contrib.jupyter.notebook import current
from gigaclient.errors import AuthenticationError, ConfigError, ForbiddenError, GigaClientError
from gigaclient.gigachat import GigaChat
from gigaclient.types import Balance, Models
from gigaclient.types.tables import number, table

__all__ = ["LoginReport", "log_in"]

_PROMPT = "Authorization key of GigaChat (it is not shown): "
_SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")
_OF_ANOTHER_PLAN = 7  # the OAuth host's error code


class LoginReport:
    """What a key can do. It shows itself in a notebook, and prints as text.

    Attributes:
        client: the client that has the key; its ``repr`` does not show it.
        scope: the scope that the key belongs to.
        models: what the key may use.
        balance: what is left of its packages; None for a plan that has none.
        kept: where the key is stored; None when it is in the memory of this kernel alone.
    """

    def __init__(self, client: GigaChat, scope: str, models: Models, balance: Balance | None, kept: str | None) -> None:
        self.client = client
        self.scope = scope
        self.models = models
        self.balance = balance
        self.kept = kept

    def _sentence(self) -> str:
        where = f"It is kept in {self.kept}" if self.kept else "It is in the memory of this kernel alone"
        return f"The key was accepted, with the scope {self.scope}. {where}; the notebook does not hold it."

    def _rows(self) -> list[Sequence[Any]]:
        left = {package.usage: package.value for package in self.balance.balance} if self.balance else {}
        rows: list[Sequence[Any]] = [
            (model.id, model.type or "", left.pop(model.id, None)) for model in self.models.data
        ]
        return rows + [(usage, "", value) for usage, value in left.items()]

    def __str__(self) -> str:
        lines = [
            f"  {name}{f' ({kind})' if kind else ''}{f': {number(left)} tokens left' if left is not None else ''}"
            for name, kind, left in self._rows()
        ]
        return "\n".join([self._sentence(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._sentence())}</p>{table(('model', 'type', 'tokens left'), self._rows())}"


def log_in(*, scope: str | None = None, store: bool = False, again: bool = False) -> LoginReport:
    """Take the stored key, or ask for one; try it, and have ``%giga`` use it.

    Args:
        scope: what the key belongs to; all are tried when None.
        store: keep the key for other notebooks and the command line.
        again: ask even though one is stored.

    Raises:
        ConfigError: what was typed is no authorization key, or the front end cannot ask.
        AuthenticationError: the key was refused.
        APIConnectionError: the service could not be reached.
    """
    stored = None if again else credentials.stored()
    key = stored.credentials if stored is not None else _asked()
    if stored is not None and scope is None:
        scope = stored.scope
    client, scope = _accepted(key, scope)
    try:
        models = client.get_models()
        try:
            balance: Balance | None = client.get_balance()
        except ForbiddenError:  # no packages in this plan
            balance = None
        if store:
            stored = credentials.store(key, scope)
    except BaseException:
        client.close()
        raise
    current().use(client, own=True)
    return LoginReport(client, scope, models, balance, stored.description if stored is not None else None)


def _asked() -> Secret:
    try:
        # Not kept in a variable of its own: tracebacks show variables.
        key: Secret | None = Secret(getpass.getpass(_PROMPT))
    except (EOFError, OSError, NotImplementedError, RuntimeError):
        key = None  # of ipykernel: StdinNotImplementedError
    if key is None:
        raise ConfigError(
            "nobody can be asked for the key here: set GIGACHAT_CREDENTIALS before the kernel starts, or store the key "
            "with gigaclient login"
        )
    if not key.reveal().strip():
        raise ConfigError("no key was given: Studio shows it on the project's page as «Authorization Key»")
    return key


def _accepted(key: Secret, scope: str | None) -> tuple[GigaChat, str]:
    """A client that has a token for the key, and the scope it has it with."""
    refused: GigaClientError | None = None
    for candidate in (scope,) if scope else _SCOPES:
        client = GigaChat(credentials=key, scope=candidate)
        try:
            client.get_token()
        except AuthenticationError as error:
            client.close()
            if error.code != _OF_ANOTHER_PLAN:
                raise
            refused = refused or error
        except BaseException:
            client.close()
            raise
        else:
            return client, candidate
    assert refused is not None, "there is a scope at least"
    raise refused
