"""Clients by alias, made from one setting, for all web frameworks. No framework is imported.

The setting, which every framework calls ``GIGACLIENT``, is a mapping in one of two forms::

    {"credentials": "…", "scope": "…"}                                    # one client, the alias "default"
    {"default": {"credentials": "…"}, "pool": {"provider": "fakegpt"}}    # several

Options are the arguments of the client. ``provider`` selects the client: ``"gigachat"`` (the default), ``"fakegpt"``,
your own class, or its dotted path. Missing options come from the environment, as for a client that you make yourself.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar, overload

from gigaclient._core.client_cache import ClientCache
from gigaclient._core.request_options import headers_as_secrets
from gigaclient._primitives.secret import as_secret
from gigaclient.errors import ConfigError
from gigaclient.protocols import ChatProvider

__all__ = [
    "DEFAULT_ALIAS",
    "SETTING",
    "ClientsByAlias",
    "alias_label",
    "make_client",
    "mask_secrets",
    "options_by_alias",
    "provider_of",
    "unknown_options",
]

SETTING = "GIGACLIENT"
DEFAULT_ALIAS = "default"

_PROVIDERS = {"gigachat": "gigaclient.GigaChat", "fakegpt": "gigaclient.FakeGpt"}
# Matched by name, because misspelled and unknown options hold secrets as well: api_key, token, Credentials.
_SECRET_OPTION = re.compile("api|auth|cookie|credential|key|pass|proxy|secret|token", re.IGNORECASE)
_NOT_SECRET = frozenset({"auth_url", "key_file", "token_cache"})

ClientT = TypeVar("ClientT")


class ClientsByAlias:
    """One lazy client for each alias of a setting, shared by the threads of a process, and usable after a fork.

    Args:
        read: returns the current setting; None if there is none. Called when a client is made, not before.
        name: the name of the setting, for messages.
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
        """Return the client of ``alias``; make it if there is none yet, or if it was closed.

        Args:
            alias: a name in the setting.
            kind: the class that the client must have, such as :class:`gigaclient.GigaChat`, if you need its methods.

        Raises:
            ConfigError: there is no such alias, its options are invalid, or the client has another class.
        """
        # Taken before the setting is read: a reset() in between then also drops a client of the old setting.
        clients = self._clients
        client = clients.get({"alias": alias}, lambda: self._make(alias))
        if kind is not None and not isinstance(client, kind):
            raise ConfigError(
                f"{alias_label(alias, self._name)} is a {type(client).__name__}, and a {kind.__name__} was requested"
            )
        return client

    def reset(self) -> None:
        """Forget the clients, because the setting has changed. Active calls and streams continue."""
        self._clients = ClientCache()

    def _make(self, alias: str) -> ChatProvider:
        return make_client(alias, options_by_alias(self._read(), self._name), self._name)


def alias_label(alias: str, name: str = SETTING) -> str:
    """Return the name of an alias for messages."""
    return f"{name}, alias {alias!r}"


def options_by_alias(setting: Any, name: str = SETTING) -> dict[str, dict[str, Any]]:
    """Return the options of each alias of ``setting``; secrets in them are masked when printed.

    Raises:
        ConfigError: ``setting`` is not a mapping of either form.
    """
    if setting is None:
        return {DEFAULT_ALIAS: {}}
    if not isinstance(setting, Mapping):
        type_name = type(setting).__name__
        del setting
        raise ConfigError(f"{name} must be a dict of options, or of aliases to options, not {type_name}")
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
            raise ConfigError(f"{alias_label(alias, name)}: names of options are strings")
    return {alias: dict(options) for alias, options in setting.items()}


def make_client(alias: str, aliases: Mapping[str, Mapping[str, Any]], name: str = SETTING) -> ChatProvider:
    """Make a new client of ``alias``. Nothing is sent.

    Raises:
        ConfigError: there is no such alias, or its options are invalid; the message says where and what to do.
    """
    if alias not in aliases:
        known = ", ".join(map(repr, aliases)) or "none"
        raise ConfigError(f"{name} has no alias {alias!r}; it has {known}{_suggestion(str(alias), aliases)}")
    label = alias_label(alias, name)
    provider = provider_of(alias, aliases[alias], name)
    for advice in unknown_options(provider, aliases[alias]).values():
        raise ConfigError(f"{label}: {advice}")
    options = {option: value for option, value in aliases[alias].items() if option != "provider"}
    try:
        client: ChatProvider = provider(**options)
    except ConfigError as error:
        message = error.message
    else:
        return client
    # Raised outside the handler, so that error pages do not show the frames of the first error.
    raise ConfigError(f"{label}: {message}")


def provider_of(alias: str, options: Mapping[str, Any], name: str = SETTING) -> type[Any]:
    """Return the class that the option ``provider`` names.

    Raises:
        ConfigError: there is no such class, or it is not a client.
    """
    provider = options.get("provider")
    label = f"{alias_label(alias, name)}: provider"
    if provider is None:
        provider = "gigachat"
    if isinstance(provider, str):
        path = _PROVIDERS.get(provider, provider)
        module, _, attribute = path.rpartition(".")
        if not module:
            raise ConfigError(
                f'{label} must be "gigachat", "fakegpt", or the dotted path of a class, not {provider[:100]!r}'
            )
        try:
            provider = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{label} {path!r} cannot be imported: {error}") from None
    if not isinstance(provider, type) or not (hasattr(provider, "chat") and hasattr(provider, "stream")):
        raise ConfigError(f"{label} must be a class that meets gigaclient.ChatProvider, not {provider!r:.100}")
    return provider


def unknown_options(provider: type[Any], options: Mapping[str, Any]) -> dict[str, str]:
    """Return advice for each option that ``provider`` does not take."""
    parameters = inspect.signature(provider).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return {}
    known = {parameter.name for parameter in parameters}
    return {
        option: _advice(provider, option, known) for option in options if option != "provider" and option not in known
    }


def mask_secrets(setting: Any) -> None:
    """Mask the secrets in ``setting`` in place, because error pages and mails print settings.

    A secret becomes an equal string whose ``repr`` is masked; see :class:`gigaclient._primitives.secret.Secret`.
    Mappings other than dicts are left unchanged.
    """
    if isinstance(setting, dict):
        for options in setting.values() if _has_aliases(setting) else (setting,):
            if isinstance(options, dict):
                options.update(_masked_options(options))


def _has_aliases(setting: Mapping[Any, Any]) -> bool:
    return bool(setting) and all(isinstance(options, Mapping) for options in setting.values())


def _as_secrets(setting: Mapping[Any, Any]) -> dict[Any, Any]:
    if not _has_aliases(setting):
        return _masked_options(setting)
    return {alias: _masked_options(options) for alias, options in setting.items()}


def _masked_options(options: Mapping[Any, Any]) -> dict[Any, Any]:
    return {option: _masked_option(option, value) for option, value in options.items()}


def _masked_option(option: Any, value: Any) -> Any:
    if option == "headers":
        return headers_as_secrets(value)
    is_secret = isinstance(option, str) and option not in _NOT_SECRET and _SECRET_OPTION.search(option)
    return as_secret(value) if is_secret else value


def _advice(provider: type[Any], option: str, known: Iterable[str]) -> str:
    if provider.__module__.startswith("gigaclient."):
        try:
            provider(**{option: None})
        except TypeError as error:  # the message of the client has close names, and knows those of other SDKs
            return str(error)
    return f"{provider.__name__} has no option {option!r}{_suggestion(option.lower(), known)}"


def _suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; is it {near[0]!r}?" if near else ""
