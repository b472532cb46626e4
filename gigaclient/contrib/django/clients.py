"""One lazy client for each alias of ``settings.GIGACLIENT``, in each process."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from django.conf import settings
from django.core.signals import setting_changed

from gigaclient.contrib.client_registry import DEFAULT_ALIAS, SETTING, ClientsByAlias
from gigaclient.protocols import ChatProvider

__all__ = ["get_client"]

ClientT = TypeVar("ClientT")


def _read_setting() -> Any:
    return getattr(settings, SETTING, None)


_clients = ClientsByAlias(_read_setting)


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: None = None) -> ChatProvider: ...


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[ClientT]) -> ClientT: ...


def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[Any] | None = None) -> Any:
    """The client of ``alias`` in ``settings.GIGACLIENT``, made when it is first asked for; do not close it.

    There is one for each alias and process, shared by all threads, right under ``runserver``'s reloader and after the
    forks of ``gunicorn --preload``. Ask for it in the view, not at import: then ``override_settings`` works in tests.

    Args:
        alias: a name in the setting. A setting without aliases is ``"default"``; so is none at all, and then the client
            is made of ``GIGACHAT_CREDENTIALS`` and the like.
        kind: the class that the client has to be. ``get_client(kind=GigaChat).embeddings(…)`` is for type checkers,
            which otherwise know it as a :class:`~gigaclient.protocols.ChatProvider`, and is checked when it runs.

    Raises:
        ConfigError: there is no such alias, its options cannot work, or it is of another class.
    """
    return _clients.get(alias, kind=kind)


def _forget_clients(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        _clients.reset()


setting_changed.connect(_forget_clients, dispatch_uid="gigaclient: forget clients")
