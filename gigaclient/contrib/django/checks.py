"""System checks that report invalid and unsafe settings before the first request.

Each message has an id, for ``SILENCED_SYSTEM_CHECKS``; :data:`MESSAGES` lists them. No check sends anything, and none
shows a secret.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import django
from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks

from gigaclient import FakeGpt, GigaChat
from gigaclient._core.base_client import BaseClient
from gigaclient._primitives.extras import install_command
from gigaclient._primitives.secret import Secret
from gigaclient.contrib.client_registry import (
    DEFAULT_ALIAS,
    SETTING,
    alias_label,
    options_by_alias,
    provider_of,
    unknown_options,
)
from gigaclient.contrib.django.project_sources import Source, project_modules, source_of, sources_of_settings
from gigaclient.errors import ConfigError

__all__ = ["MESSAGES", "TAG", "register_all"]

TAG = "gigaclient"
"""``manage.py check --tag gigaclient`` runs these alone."""

MIN_DJANGO = (4, 2)
MIN_DJANGO_FOR_ASGI_DISCONNECTS = (5, 0)

MESSAGES: Mapping[str, str] = {
    "gigaclient.E001": "certificates are not checked",
    "gigaclient.E002": "an option that the client does not have",
    "gigaclient.E003": "options that cannot work",
    "gigaclient.E004": "GIGACLIENT is not of a form that can be read",
    "gigaclient.E005": "Django is too old",
    "gigaclient.W001": "a secret is written in the settings' source",
    "gigaclient.W002": "a client is made in the settings",
    "gigaclient.W003": "a client is made when a module is imported",
    "gigaclient.W004": "a plain generator is streamed under ASGI",
    "gigaclient.W005": "Django does not detect closed browsers under ASGI",
    "gigaclient.W006": "there is no key",
    "gigaclient.W007": "an async view waits for the model and stops the event loop",
}
"""The ids, and the problem that each reports."""

_MIN_SECRET_CHARS = 8
"""Shorter strings occur in source code by chance."""


def register_all() -> None:
    """Register the checks with Django; called when the application is ready."""
    for check in (check_setting, check_secrets_in_source, check_clients_at_import, check_streaming):
        checks.register(check, TAG)


def check_setting(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Check ``GIGACLIENT`` and the version of Django: E001 to E005, W006."""
    found = _check_django_version()
    try:
        aliases = options_by_alias(getattr(settings, SETTING, None))
    except ConfigError as error:
        hint = f'Write {SETTING} = {{"credentials": …}}, or {{"{DEFAULT_ALIAS}": {{"credentials": …}}, …}}.'
        return [*found, checks.Error(error.message, hint=hint, id="gigaclient.E004")]
    for alias, options in aliases.items():
        found += _check_alias(alias, options)
    return found


def _check_django_version() -> list[checks.CheckMessage]:
    if django.VERSION[:2] >= MIN_DJANGO:
        return []
    return [
        checks.Error(
            f"gigaclient.contrib.django does not run on Django {django.get_version()}.",
            hint=f"Install 4.2 or a newer one: {install_command('django')}",
            id="gigaclient.E005",
        )
    ]


def _check_alias(alias: str, options: dict[str, Any]) -> list[checks.CheckMessage]:
    label = alias_label(alias)
    try:
        provider = provider_of(alias, options)
    except ConfigError as error:
        return [checks.Error(error.message, hint="Correct it, or leave it out for GigaChat.", id="gigaclient.E003")]
    unknown = unknown_options(provider, options)
    found: list[checks.CheckMessage] = [
        checks.Error(
            f"{label}: {advice}",
            hint=f"Options are the arguments of {provider.__name__}, and provider.",
            id="gigaclient.E002",
        )
        for advice in unknown.values()
    ]
    known = {name: value for name, value in options.items() if name != "provider" and name not in unknown}
    try:
        client_settings = _read_settings(provider, known)
    except ConfigError as error:
        return [
            *found,
            checks.Error(
                f"{label}: {error.message}",
                hint=f"Values come from {SETTING}, and those that it does not have from the environment.",
                id="gigaclient.E003",
            ),
        ]
    if client_settings is None:
        return found
    if client_settings.trust.mode == "insecure":
        found.append(
            checks.Error(
                f"{label}: certificates are not checked, so that anybody on the network can read the key and answers.",
                hint="Delete verify_ssl_certs; the certificate that GigaChat's servers need ships with gigaclient. "
                "Behind a company's proxy, pass its root certificate as ca_bundle_file.",
                id="gigaclient.E001",
            )
        )
    if client_settings.auth_method == "none":
        found.append(
            checks.Warning(
                f"{label}: there is no key, so that every call will be refused.",
                hint=f"Set GIGACHAT_CREDENTIALS in the environment, or credentials in {SETTING}.",
                id="gigaclient.W006",
            )
        )
    return found


def _read_settings(provider: type[Any], options: Mapping[str, Any]) -> Any:
    """Return the settings that a client would be made from; None for a class that is not ours."""
    if issubclass(provider, GigaChat):
        from gigaclient.gigachat.settings import read_settings as read_gigachat_settings

        return read_gigachat_settings(options)
    if issubclass(provider, FakeGpt):
        from gigaclient.fakegpt.settings import read_settings as read_fakegpt_settings

        return read_fakegpt_settings(options)
    return None


# -- secrets in the source ---------------------------------------------------------------------------------------------


def check_secrets_in_source(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Check that no secret is written in the settings' source, and so in version control: W001."""
    try:
        aliases = options_by_alias(getattr(settings, SETTING, None))
    except ConfigError:
        return []
    secrets = [
        (alias, option, secret)
        for alias, options in aliases.items()
        for option, value in options.items()
        for secret in ([value] if isinstance(value, Secret) else _secrets_in(value))
        if len(secret) >= _MIN_SECRET_CHARS
    ]
    if not secrets:
        return []
    found: list[checks.CheckMessage] = []
    for source in sources_of_settings():
        literals = [
            (node.lineno, node.value)
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        for alias, option, secret in secrets:
            line = next((line for line, text in literals if secret.reveal() in text), None)
            if line is not None:
                found.append(
                    checks.Warning(
                        f"{alias_label(alias)}: {option} is written in {source.name}, line {line}.",
                        hint="Leave it out and set GIGACHAT_CREDENTIALS in the environment, or read it from there. "
                        "One that has been in version control is known to others: issue another in Studio.",
                        id="gigaclient.W001",
                    )
                )
    return found


def _secrets_in(value: Any) -> list[Secret]:
    return [inner for inner in value.values() if isinstance(inner, Secret)] if isinstance(value, Mapping) else []


# -- clients at import -------------------------------------------------------------------------------------------------


def check_clients_at_import(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Check that settings and modules hold no client that was made at import: W002, W003."""
    found: list[checks.CheckMessage] = [
        checks.Warning(
            f"settings.{name} is a client.",
            hint=f"Keep its options in {SETTING} and ask for the client with get_client(): settings are copied, "
            "printed and overridden.",
            id="gigaclient.W002",
        )
        for name in _clients_in_settings()
    ]
    for module in project_modules(app_configs):
        for name, value in vars(module).copy().items():
            if isinstance(value, BaseClient):
                found.append(
                    checks.Warning(
                        f"{module.__name__}.{name} is a client that is made when the module is imported.",
                        hint="Call get_client() in the view instead: it follows override_settings, and a mistake in "
                        "the settings does not stop the import.",
                        id="gigaclient.W003",
                    )
                )
    return found


def _clients_in_settings() -> Iterator[str]:
    for name in dir(settings):
        if name.isupper() and settings.is_overridden(name):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Django warns of deprecated settings
                value = getattr(settings, name, None)
            if isinstance(value, BaseClient):
                yield name


# -- streaming ---------------------------------------------------------------------------------------------------------

_STREAMING_CLASS = "StreamingHttpResponse"
_STREAM_METHODS = frozenset({"generate", "stream"})


def check_streaming(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Check the source of the views for streams that do not work under ASGI: W004, W005, W007."""
    found: list[checks.CheckMessage] = []
    under_asgi = _has_asgi_application()
    if under_asgi and django.VERSION[:2] < MIN_DJANGO_FOR_ASGI_DISCONNECTS:
        found.append(
            checks.Warning(
                f"Django {django.get_version()} does not detect closed browsers under ASGI: the model generates the "
                "rest of the answer, and you pay for it.",
                hint="Run it under WSGI, or install Django 5.0 or newer.",
                id="gigaclient.W005",
            )
        )
    for module in project_modules(app_configs):
        source = source_of(module.__name__, only_with="gigaclient")
        if source is not None:
            found += _check_source(source, under_asgi)
    return found


def _has_asgi_application() -> bool:
    """Return True if the settings name an ASGI application. A server started on ``asgi.py`` by hand is not detected."""
    return bool(getattr(settings, "ASGI_APPLICATION", None)) or apps.is_installed("daphne")


def _check_source(source: Source, under_asgi: bool) -> Iterator[checks.CheckMessage]:
    for node in ast.walk(source.tree):
        if under_asgi and isinstance(node, ast.Call) and _is_plain_streaming_response(node):
            yield checks.Warning(
                f"{source.name}, line {node.lineno}: under ASGI Django reads the whole answer before it sends any.",
                hint="Return stream_response(client.stream(messages)) instead.",
                id="gigaclient.W004",
            )
        if isinstance(node, ast.AsyncFunctionDef):
            for call in _calls_in_coroutine(node):
                name = _called_name(call)
                if name == "stream_response":
                    hint = "Return await astream_response(lambda: client.stream(messages)) instead."
                elif _is_method_of_get_client(call):
                    hint = (
                        f"Await asyncio.to_thread(get_client().{name}, …), or for a stream astream_response, instead."
                    )
                else:
                    continue
                yield checks.Warning(
                    f"{source.name}, line {call.lineno}: {name} waits for the model, and {node.name} is asynchronous.",
                    hint=hint,
                    id="gigaclient.W007",
                )


def _called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_method_of_get_client(call: ast.Call) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Call) and _called_name(owner) == "get_client"


def _is_plain_streaming_response(call: ast.Call) -> bool:
    """Return True if ``call`` makes a StreamingHttpResponse from a stream of a client."""
    return _called_name(call) == _STREAMING_CLASS and any(
        isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in _STREAM_METHODS
        for argument in (*call.args, *(keyword.value for keyword in call.keywords))
        for inner in ast.walk(argument)
    )


def _calls_in_coroutine(function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """Yield the calls in the body of a coroutine, without those of inner functions, which may run in a thread."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, ast.Call):
            yield node
            if _called_name(node) == "stream_response":
                continue  # one message is enough, not another for its argument
        pending += ast.iter_child_nodes(node)
