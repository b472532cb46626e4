"""Ask for a key without storing it in the notebook, and report what it gives access to."""

from __future__ import annotations

import getpass
import html
from collections.abc import Sequence
from typing import Any

from gigaclient._core.settings import named
from gigaclient._primitives.secret import Secret
from gigaclient.cli import credentials
from gigaclient.contrib.jupyter.notebook import current
from gigaclient.errors import ConfigError, ForbiddenError
from gigaclient.gigachat import GigaChat
from gigaclient.gigachat.credentials import authorization_key
from gigaclient.gigachat.scopes import SCOPES, client_in_scope
from gigaclient.types import Balance, Models
from gigaclient.types.tables import number, table

__all__ = ["LoginReport", "log_in"]

_PROMPT = "Authorization key of GigaChat (it is not shown): "


class LoginReport:
    """A report on what a key gives access to. Notebooks show it as HTML, and it prints as text.

    Attributes:
        client: the client that has the key; its ``repr`` does not show it.
        scope: the scope that the key belongs to.
        models: the models that the key may use.
        balance: the tokens left in its packages; None for a plan without packages.
        kept: the place where the key is stored; None if it is only in the memory of this kernel.
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
            f"  {name}{f' ({type_})' if type_ else ''}{f': {number(left)} tokens left' if left is not None else ''}"
            for name, type_, left in self._rows()
        ]
        return "\n".join([self._sentence(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._sentence())}</p>{table(('model', 'type', 'tokens left'), self._rows())}"


def log_in(*, scope: str | None = None, store: bool = False, again: bool = False) -> LoginReport:
    """Take the stored key, or ask for one; validate it, and use it for ``%giga``.

    Args:
        scope: the scope of the key; None tries all.
        store: store the key for other notebooks and the command line.
        again: ask even if a key is stored.

    Raises:
        ConfigError: the input is not an authorization key, or the front end cannot ask for input.
        AuthenticationError: the key was refused.
        APIConnectionError: the service could not be reached.
    """
    stored = None if again else credentials.stored()
    key = stored.credentials if stored is not None else _prompt_for_key()
    key = named("the key", authorization_key, key)
    if stored is not None and scope is None:
        scope = stored.scope
    client, scope = client_in_scope(
        lambda candidate: GigaChat(credentials=key, scope=candidate), (scope,) if scope else SCOPES
    )
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


def _prompt_for_key() -> Secret:
    try:
        # The plain text is never a variable, because tracebacks show variables.
        key: Secret | None = Secret(getpass.getpass(_PROMPT))
    except (EOFError, OSError, NotImplementedError, RuntimeError):
        key = None  # ipykernel raises StdinNotImplementedError, a RuntimeError
    if key is None:
        raise ConfigError(
            "the key cannot be entered here: set GIGACHAT_CREDENTIALS before the kernel starts, or store the key with "
            "gigaclient login"
        )
    if not key.reveal().strip():
        raise ConfigError("no key was entered: Studio shows it on the project's page as «Authorization Key»")
    return key
