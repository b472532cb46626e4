"""The one-call form ``create_generator`` of both providers: a shared client, and the text of one response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from gigaclient._core.base_client import BaseClient, environment_key, fingerprint
from gigaclient._core.call_arguments import move_unknown
from gigaclient._core.client_cache import ClientCache
from gigaclient._core.request_options import headers_as_secrets
from gigaclient._primitives.secret import as_secret
from gigaclient.protocols import Messages

__all__ = ["shared_client", "text_pieces"]

ClientT = TypeVar("ClientT", bound=BaseClient[Any])

_SECRETS = ("access_token", "credentials", "key_file_password", "password", "proxy")


def shared_client(
    cache: ClientCache[ClientT],
    cls: type[ClientT],
    constructor: Callable[..., None],
    arguments: dict[str, Any],
    environment_prefix: str,
) -> ClientT:
    """Return the client for the settings among ``arguments``, and this environment; create it at the first call.

    Args:
        cache: the clients created so far.
        cls: the class of the client.
        constructor: has the keyword arguments that are settings; the others are arguments of a call.
        arguments: keyword arguments of both; the settings are removed.
        environment_prefix: begins the names of the variables that the constructor reads.
    """
    names = {*(constructor.__kwdefaults__ or ()), "base_url"} - {"flags", "model", "profanity_check"}
    # No local variable may show a secret, in case a traceback prints them.
    settings = {name: _hidden(name, arguments.pop(name)) for name in names & arguments.keys()}
    identity = {name: fingerprint(value) for name, value in settings.items() if value is not None or name == "auth"}
    identity[""] = f"{cls.__module__}.{cls.__qualname__} {environment_key(environment_prefix)}"
    return cache.get(identity, lambda: cls(**settings))


def _hidden(name: str, value: Any) -> Any:
    return headers_as_secrets(value) if name == "headers" else as_secret(value) if name in _SECRETS else value


def text_pieces(
    client: BaseClient[Any], messages: Messages, model: str | None, options: dict[str, Any], *, stream: bool
) -> Iterator[str]:
    """Return a generator of the response's text, in pieces or as one.

    The request is checked now and sent with the first piece.

    Raises:
        ConfigError: the request cannot work.
    """
    if model is not None:
        options["model"] = model
    move_unknown(options, client._body_fields)
    request, request_options = client._chat_request(messages, options, stream=stream)
    return client._texts(request, request_options) if stream else client._text(request, request_options)
