"""One lazy client for each alias of ``settings.GIGACLIENT``, in each process."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from django.conf import settings
from django.core.signals import setting_changed

from gigaclient.contrib.client_registry import DEFAULT_ALIAS, SETTING, ClientsByAlias
from gigaclient.protocols import ChatProvider

__all__ = ["get_client"]

ClientT = TypeVar("ClientT")


_clients = ClientsByAlias(lambda: getattr(settings, SETTING, None))


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: None = None) -> ChatProvider: ...


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[ClientT]) -> ClientT: ...


def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[Any] | None = None) -> Any:
    """Return the client of ``alias`` in ``settings.GIGACLIENT``; it is made at first use. Do not close it.

    There is one client for each alias and process, shared by all threads. It works with the reloader of ``runserver``
    and after the forks of ``gunicorn --preload``. Call this in the view, not at import, so that ``override_settings``
    works in tests.

    Args:
        alias: a name in the setting. A setting without aliases has the alias ``"default"``. So has a missing setting;
            then the client is made from the environment (``GIGACHAT_CREDENTIALS`` and so on).
        kind: the class that the client must have. ``get_client(kind=GigaChat).embeddings(…)`` satisfies type checkers,
            which otherwise see a :class:`~gigaclient.protocols.ChatProvider`; the class is checked at run time.

    Raises:
        ConfigError: there is no such alias, its options are invalid, or the client has another class.
    """
    return _clients.get(alias, kind=kind)


def _forget_clients(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        _clients.reset()


setting_changed.connect(_forget_clients, dispatch_uid="gigaclient: forget clients")
