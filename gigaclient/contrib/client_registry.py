"""Clients by alias, made of one setting: what web frameworks have in common. Nothing of any framework is imported.

The setting, which every framework calls ``GIGACLIENT``, is a mapping in one of two forms::

    {"credentials": "…", "scope": "…"}                                    # one client, the alias "default"
    {"default": {"credentials": "…"}, "pool": {"provider": "fakegpt"}}    # several

Options are the arguments of the client; ``provider`` says which client: ``"gigachat"`` (the default), ``"fakegpt"``, a
class of your own, or its dotted path. What is left out comes from the environment, as for a client made by hand.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar, overload

from gigaclient._core.base_client import as_secret, headers_as_secrets
from gigaclient._core.client_cache import ClientCache
from gigaclient.errors import ConfigError
from gigaclient.protocols import ChatProvider

__all__ = [
    "DEFAULT_ALIAS",
    "SETTING",
    "ClientsByAlias",
    "make_client",
    "options_by_alias",
    "place_of",
    "provider_of",
    "seal",
    "unknown_options",
]

SETTING = "GIGACLIENT"
DEFAULT_ALIAS = "default"

_PROVIDERS = {"gigachat": "gigaclient.GigaChat", "fakegpt": "gigaclient.FakeGpt"}
# By what they are called, because the names that are not options hold secrets as well: api_key, token, Credentials.
_SECRET_OPTION = re.compile("api|auth|cookie|credential|key|pass|proxy|secret|token", re.IGNORECASE)
_NOT_SECRET = frozenset({"auth_url", "key_file", "token_cache"})

ClientT = TypeVar("ClientT")


class ClientsByAlias:
    """One lazy client for each alias of a setting, shared by the threads of this process and right after a fork.

    Args:
        read: gives the setting as it is now; None for one that is not there. Asked when a client is made, not before.
        name: what the setting is called, for messages.
    """

    def __init__(self, read: Callable[[], Any], name: str = SETTING) -> None:
        self._read = read
        self._name = name
        self._clients: ClientCache[ChatProvider] = ClientCache()

    @overload
    def get(self, alias: str = DEFAULT_ALIAS, *, kind: None = None) -> ChatProvider: ...

    @overload
    def get(self, alias: str = DEFAULT_ALIAS, *, kind: type[ClientT]) -> ClientT: ...

    def get(self, alias: str = DEFAULT_ALIAS, *, kind: type[Any] | None = None) -> Any:
        """The client of ``alias``, made now if there is none yet, or if somebody has closed it.

        Args:
            alias: a name in the setting.
            kind: the class that it has to be, such as :class:`gigaclient.GigaChat`, for callers who need its methods.

        Raises:
            ConfigError: there is no such alias, its options cannot work, or it is of another class.
        """
        # Looked up before the setting is read: a client made of what a reset has outdated goes with the outdated ones.
        clients = self._clients
        client = clients.get({"alias": alias}, lambda: self._make(alias))
        if kind is not None and not isinstance(client, kind):
            raise ConfigError(
                f"{place_of(alias, self._name)} is a {type(client).__name__}, and a {kind.__name__} was asked for"
            )
        return client

    def reset(self) -> None:
        """Forget the clients, for another setting. Calls and streams under way go on."""
        self._clients = ClientCache()

    def _make(self, alias: str) -> ChatProvider:
        return make_client(alias, options_by_alias(self._read(), self._name), self._name)


def place_of(alias: str, name: str = SETTING) -> str:
    """How messages name an alias."""
    return f"{name}, alias {alias!r}"


def options_by_alias(setting: Any, name: str = SETTING) -> dict[str, dict[str, Any]]:
    """The options of each alias of ``setting``, with secrets that do not show themselves.

    Raises:
        ConfigError: it is not a mapping of either form.
    """
    if setting is None:
        return {DEFAULT_ALIAS: {}}
    if not isinstance(setting, Mapping):
        kind = type(setting).__name__
        del setting
        raise ConfigError(f"{name} must be a dict of options, or of aliases to options, not {kind}")
    setting = _as_secrets(setting)
    wrong = next((key for key in setting if not isinstance(key, str)), None)
    if wrong is not None:
        raise ConfigError(f"{name}: names are strings, not {type(wrong).__name__}")
    if not _has_aliases(setting):
        if isinstance(setting.get(DEFAULT_ALIAS), Mapping):
            stray = next(key for key, value in setting.items() if not isinstance(value, Mapping))
            raise ConfigError(f"{name} mixes aliases and options: move {stray!r} into the alias it belongs to")
        return {DEFAULT_ALIAS: dict(setting)}
    for alias, options in setting.items():
        if not all(isinstance(option, str) for option in options):
            raise ConfigError(f"{place_of(alias, name)}: names of options are strings")
    return {alias: dict(options) for alias, options in setting.items()}


def make_client(alias: str, aliases: Mapping[str, Mapping[str, Any]], name: str = SETTING) -> ChatProvider:
    """A new client of ``alias``. Nothing is sent.

    Raises:
        ConfigError: there is no such alias, or its options cannot work; the message says where and what to do.
    """
    if alias not in aliases:
        known = ", ".join(map(repr, aliases)) or "none"
        raise ConfigError(f"{name} has no alias {alias!r}; it has {known}{_perhaps(str(alias), aliases)}")
    place = place_of(alias, name)
    provider = provider_of(alias, aliases[alias], name)
    for told in unknown_options(provider, aliases[alias]).values():
        raise ConfigError(f"{place}: {told}")
    options = {option: value for option, value in aliases[alias].items() if option != "provider"}
    try:
        client: ChatProvider = provider(**options)
    except ConfigError as error:
        message = error.message
    else:
        return client
    # Out of the handler: the first error's frames are of no use to anybody, and a page that shows frames is long.
    raise ConfigError(f"{place}: {message}")


def provider_of(alias: str, options: Mapping[str, Any], name: str = SETTING) -> type[Any]:
    """The class that ``options`` name as their ``provider``.

    Raises:
        ConfigError: they name none that there is, or one that is no client.
    """
    given = options.get("provider")
    place = f"{place_of(alias, name)}: provider"
    if given is None:
        given = "gigachat"
    if isinstance(given, str):
        path = _PROVIDERS.get(given, given)
        module, _, attribute = path.rpartition(".")
        if not module:
            raise ConfigError(
                f'{place} must be "gigachat", "fakegpt", or the dotted path of a class, not {given[:100]!r}'
            )
        try:
            given = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{place} {path!r} cannot be imported: {error}") from None
    if not isinstance(given, type) or not (hasattr(given, "chat") and hasattr(given, "stream")):
        raise ConfigError(f"{place} must be a class that meets gigaclient.ChatProvider, not {given!r:.100}")
    return given


def unknown_options(provider: type[Any], options: Mapping[str, Any]) -> dict[str, str]:
    """What to do about each option that ``provider`` does not take."""
    parameters = inspect.signature(provider).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return {}
    known = {parameter.name for parameter in parameters}
    return {
        option: _advice(provider, option, known) for option in options if option != "provider" and option not in known
    }


def seal(setting: Any) -> None:
    """Have secrets in ``setting`` itself not show themselves: pages and mails about errors print settings.

    A value stays the string that it was; see :class:`gigaclient._primitives.secret.Secret`. What cannot be changed is
    left.
    """
    if isinstance(setting, dict):
        for options in setting.values() if _has_aliases(setting) else (setting,):
            if isinstance(options, dict):
                options.update(_sealed_options(options))


def _has_aliases(setting: Mapping[Any, Any]) -> bool:
    return bool(setting) and all(isinstance(options, Mapping) for options in setting.values())


def _as_secrets(setting: Mapping[Any, Any]) -> dict[Any, Any]:
    if not _has_aliases(setting):
        return _sealed_options(setting)
    return {alias: _sealed_options(options) for alias, options in setting.items()}


def _sealed_options(options: Mapping[Any, Any]) -> dict[Any, Any]:
    return {option: _sealed_option(option, value) for option, value in options.items()}


def _sealed_option(option: Any, value: Any) -> Any:
    if option == "headers":
        return headers_as_secrets(value)
    is_secret = isinstance(option, str) and option not in _NOT_SECRET and _SECRET_OPTION.search(option)
    return as_secret(value) if is_secret else value


def _advice(provider: type[Any], option: str, known: Iterable[str]) -> str:
    if provider.__module__.startswith("gigaclient."):
        try:
            provider(**{option: None})
        except TypeError as error:  # names that other SDKs have get an answer of their own
            if "unexpected keyword" not in str(error):
                return str(error)
    return f"{provider.__name__} has no option {option!r}{_perhaps(option.lower(), known)}"


def _perhaps(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; is it {near[0]!r}?" if near else ""
