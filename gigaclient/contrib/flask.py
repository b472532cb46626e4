"""gigaclient in Flask: clients from the app's configuration, and streams as event streams.

::

    app = Flask(__name__)
    GigaClient(app)

    @app.post("/chat")
    def chat():
        try:
            messages = messages_from_json(request.get_json())
        except ValueError as error:
            abort(400, str(error))
        return stream_response(gigachat.stream(messages))

``app.config["GIGACLIENT"]`` holds the options of the client, or of several by alias; see
:mod:`gigaclient.contrib.client_registry`. Without it they come from the environment: ``GIGACHAT_CREDENTIALS`` and so
on. Needs ``gigaclient[flask]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, overload

from gigaclient._primitives.extras import extra_is_missing
from gigaclient.contrib.client_registry import (
    DEFAULT_ALIAS,
    SETTING,
    ClientsByAlias,
    alias_label,
    mask_secrets,
    options_by_alias,
    provider_of,
    unknown_options,
)
from gigaclient.contrib.event_stream import EventStream, error_headers, error_payload, status_of
from gigaclient.contrib.request_messages import messages_from_json
from gigaclient.contrib.stream_reader import Readable, Render
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat import GigaChat
from gigaclient.protocols import ChatProvider

try:
    from flask import Flask, Response, current_app, has_request_context, request
    from werkzeug.local import LocalProxy
except ImportError as missing:
    raise ImportError(
        extra_is_missing("gigaclient.contrib.flask", missing.name, "flask"),
        name=missing.name,
    ) from missing

__all__ = ["GigaClient", "error_response", "get_client", "gigachat", "messages_from_json", "stream_response"]

_NAME = "gigaclient"

ClientT = TypeVar("ClientT")


class GigaClient:
    """The extension: one client for each app, process and alias, made at first use.

    ``GigaClient(app)``, or ``GigaClient()`` and later :meth:`init_app`, for any number of apps. Neither makes a client.
    Both validate ``app.config["GIGACLIENT"]``, so configure the app before. A client is shared by all threads and works
    after a fork (gunicorn's ``--preload``). Do not close it.

    Args:
        app: the app, if there is one already.
        handle_errors: turn an unhandled error of gigaclient into a JSON response with its status; see
            :func:`error_response`. Handlers that an app or a blueprint has for ``GigaClientError``, or for a subclass,
            take precedence. False registers no handler.

    Raises:
        ConfigError: the configuration names an unknown option or provider.
    """

    def __init__(self, app: Flask | None = None, *, handle_errors: bool = True) -> None:
        self._handle_errors = handle_errors
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Register the clients of ``app``, and a handler for errors of gigaclient."""
        setting = app.config.get(SETTING)
        _check(setting)
        if setting is not None:
            # Error pages show the configuration. It is copied, because the caller may use the same dict elsewhere.
            setting = {name: dict(value) if isinstance(value, Mapping) else value for name, value in setting.items()}
            mask_secrets(setting)
            app.config[SETTING] = setting
        app.extensions[_NAME] = ClientsByAlias(lambda: app.config.get(SETTING))
        # Handlers of blueprints need no check: Flask prefers them to the app's.
        if self._handle_errors and GigaClientError not in app.error_handler_spec[None][None]:
            app.register_error_handler(GigaClientError, _handle)

    @property
    def client(self) -> GigaChat:
        """The client of the alias ``"default"``, of the current app.

        Raises:
            ConfigError: its options are invalid, or it is not a ``GigaChat``; :meth:`get_client` returns any class.
            RuntimeError: there is no current app.
        """
        return get_client(kind=GigaChat)

    @overload
    def get_client(self, alias: str = DEFAULT_ALIAS, *, kind: None = None) -> ChatProvider: ...

    @overload
    def get_client(self, alias: str = DEFAULT_ALIAS, *, kind: type[ClientT]) -> ClientT: ...

    def get_client(self, alias: str = DEFAULT_ALIAS, *, kind: type[Any] | None = None) -> Any:
        """Return the client of ``alias``; see :func:`get_client`."""
        return _clients().get(alias, kind=kind)


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: None = None) -> ChatProvider: ...


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[ClientT]) -> ClientT: ...


def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[Any] | None = None) -> Any:
    """Return the client of ``alias``, of the current app.

    Args:
        alias: a name in ``app.config["GIGACLIENT"]``.
        kind: the class that the client must have, such as :class:`gigaclient.GigaChat`, for type checkers and readers.

    Raises:
        ConfigError: there is no such alias, its options are invalid, or the client has another class.
        RuntimeError: there is no current app.
    """
    return _clients().get(alias, kind=kind)


def _clients() -> ClientsByAlias:
    clients = current_app.extensions.get(_NAME)
    if not isinstance(clients, ClientsByAlias):
        raise ConfigError("this app has no clients: write GigaClient(app) where it is made")
    return clients


gigachat: GigaChat = cast("GigaChat", LocalProxy(lambda: get_client(kind=GigaChat)))
"""A proxy of the client of the alias ``"default"`` of the current app, like :data:`flask.current_app`; for views."""


# -- responses ---------------------------------------------------------------------------------------------------------


def stream_response(
    stream: Readable,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    ping_s: float = 2.0,
    render: Render | None = None,
    on_end: Callable[[Any], object] | None = None,
    reader_timeout_s: float = 60.0,
) -> Response:
    """Return an opened stream as a ``text/event-stream`` response.

    :mod:`gigaclient.contrib.event_stream` describes its body. The call waits for the first chunk: an error before it is
    an exception in the view, so it can still become a status. The view's contexts end before the rest arrives, so
    ``render``, ``on_end`` and functions that ``run_stream`` calls run in a separate application context
    (``current_app``, ``g``, a database session). Copy what they need from ``request`` and ``session`` into variables.

    Args:
        stream: an opened stream of any type, for example ``gigachat.stream(…)``.
        status: the status of the response.
        headers: further headers, added to :data:`~gigaclient.contrib.event_stream.HEADERS`.
        ping_s: see :class:`~gigaclient.contrib.event_stream.EventStream`, also for the arguments that follow.
        render: returns the data of a chunk's event.
        on_end: called once with the answer so far, when no more chunks will follow.
        reader_timeout_s: seconds that the browser may read nothing.

    Raises:
        ConfigError: an argument is invalid.
        GigaClientError: raised by the stream in place of the first chunk.
    """
    try:
        # Not the proxy: the body is read where there is no current app.
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    except BaseException:
        stream.close()
        raise
    _warn_of_sync_worker(app)

    def call_on_end(completion: Any) -> None:
        assert on_end is not None
        with app.app_context():
            on_end(completion)

    body = EventStream(
        stream,
        ping_s=ping_s,
        render=render,
        on_end=call_on_end if callable(on_end) else on_end,
        reader_timeout_s=reader_timeout_s,
        within=app.app_context,
    )
    try:
        response = app.response_class(body, status=status)
        response.headers.update(dict(body.headers))
        response.headers.update(dict(headers or {}))
    except BaseException:  # an invalid header, for example
        body.close()
        raise
    return response


def error_response(error: GigaClientError) -> Response:
    """Return the JSON response that reports an error, for your own error handlers.

    It has the error's status, ``Retry-After`` if the service sent a delay, and
    :func:`~gigaclient.contrib.event_stream.error_payload` as the body.
    """
    body = json.dumps(error_payload(error), ensure_ascii=False)
    return current_app.response_class(
        body, status=status_of(error), headers=error_headers(error), mimetype="application/json"
    )


def _handle(error: GigaClientError) -> Response:
    if isinstance(error, ConfigError):
        # A mistake in the program: raised in debug mode and in tests, as Flask does with those.
        propagate = current_app.config["PROPAGATE_EXCEPTIONS"]
        if propagate or (propagate is None and (current_app.testing or current_app.debug)):
            raise error
        current_app.log_exception(sys.exc_info())
    else:
        current_app.logger.warning("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
    return error_response(error)


def _check(setting: Any) -> None:
    # Finds what can be found without making a client. Making one finds the rest.
    for alias, options in options_by_alias(setting).items():
        for advice in unknown_options(provider_of(alias, options), options).values():
            raise ConfigError(f"{alias_label(alias)}: {advice}")


_sync_worker_warned = False


def _warn_of_sync_worker(app: Flask) -> None:
    global _sync_worker_warned
    if _sync_worker_warned or not has_request_context():
        return
    environment = request.environ
    if str(environment.get("SERVER_SOFTWARE", "")).startswith("gunicorn/") and not environment.get("wsgi.multithread"):
        _sync_worker_warned = True
        app.logger.warning(
            "gunicorn's sync worker is killed in the middle of a stream that takes longer than --timeout, and handles "
            "no other request during the stream: start it with --worker-class gthread --threads 16"
        )
