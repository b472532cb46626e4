"""gigaclient in Flask: clients from the app's configuration, and streams as event streams.

::

    app = Flask(__name__)
    GigaClient(app)

    @app.post("/chat")
    def chat():
        return stream_response(gigachat.stream(request.get_json()["messages"]))

``app.config["GIGACLIENT"]`` holds the options of the client, or of several by alias; see
:mod:`gigaclient.contrib.client_registry`. Without it they come from the environment, ``GIGACHAT_CREDENTIALS`` and so
on.
Needs ``gigaclient[flask]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, overload

from gigaclient.contrib.client_registry import (
    DEFAULT_ALIAS,
    SETTING,
    ClientsByAlias,
    options_by_alias,
    place_of,
    provider_of,
    seal,
    unknown_options,
)
from gigaclient.contrib.event_stream import EventStream, Readable, error_headers, error_payload, status_of
from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat import GigaChat
from gigaclient.protocols import ChatProvider

try:
    from flask import Flask, Response, current_app, has_request_context, request
    from werkzeug.local import LocalProxy
except ImportError as missing:
    raise ImportError(
        f'gigaclient.contrib.flask needs the package "{missing.name}": pip install "gigaclient[flask]"',
        name=missing.name,
    ) from missing

__all__ = ["GigaClient", "error_response", "get_client", "gigachat", "stream_response"]

_NAME = "gigaclient"

ClientT = TypeVar("ClientT")


class GigaClient:
    """The extension: one client for each app, process and alias, made when it is first asked for.

    ``GigaClient(app)``, or ``GigaClient()`` and later :meth:`init_app`, for any number of apps. Neither makes a client;
    both read ``app.config["GIGACLIENT"]`` as far as to say what is wrong with it, so configure the app before. A client
    is shared by all threads, is right after a fork (gunicorn's ``--preload``), and is closed by nobody.

    Args:
        app: the app, if there is one already.
        handle_errors: answer an error of gigaclient that a view lets through with its status, as JSON; see
            :func:`error_response`. An app or a blueprint that has a handler for it, or for a class below it, keeps its
            own. False leaves errors alone.

    Raises:
        ConfigError: the configuration names an option or a provider that there is not.
    """

    def __init__(self, app: Flask | None = None, *, handle_errors: bool = True) -> None:
        self._handle_errors = handle_errors
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give ``app`` its clients, and a handler for errors of gigaclient."""
        setting = app.config.get(SETTING)
        _check(setting)
        if setting is not None:
            # Pages about errors show the configuration. The dict that the caller may use elsewhere stays as it is.
            setting = {name: dict(value) if isinstance(value, Mapping) else value for name, value in setting.items()}
            seal(setting)
            app.config[SETTING] = setting
        app.extensions[_NAME] = ClientsByAlias(lambda: app.config.get(SETTING))
        # Only the app itself can say, at this time, that it has one; a blueprint's goes before the app's anyway.
        if self._handle_errors and GigaClientError not in app.error_handler_spec[None][None]:
            app.register_error_handler(GigaClientError, _handle)

    @property
    def client(self) -> GigaChat:
        """The client of the alias ``"default"``, of the current app.

        Raises:
            ConfigError: its options cannot work, or it is no ``GigaChat``: :meth:`get_client` gives any.
            RuntimeError: there is no current app.
        """
        return get_client(kind=GigaChat)

    @overload
    def get_client(self, alias: str = DEFAULT_ALIAS, *, kind: None = None) -> ChatProvider: ...

    @overload
    def get_client(self, alias: str = DEFAULT_ALIAS, *, kind: type[ClientT]) -> ClientT: ...

    def get_client(self, alias: str = DEFAULT_ALIAS, *, kind: type[Any] | None = None) -> Any:
        """:func:`get_client`."""
        return _clients().get(alias, kind=kind)


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: None = None) -> ChatProvider: ...


@overload
def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[ClientT]) -> ClientT: ...


def get_client(alias: str = DEFAULT_ALIAS, *, kind: type[Any] | None = None) -> Any:
    """The client of ``alias``, of the current app.

    Args:
        alias: a name in ``app.config["GIGACLIENT"]``.
        kind: the class that it has to be, such as :class:`gigaclient.GigaChat`, for type checkers and readers.

    Raises:
        ConfigError: there is no such alias, its options cannot work, or it is of another class.
        RuntimeError: there is no current app.
    """
    return _clients().get(alias, kind=kind)


def _clients() -> ClientsByAlias:
    clients = current_app.extensions.get(_NAME)
    if not isinstance(clients, ClientsByAlias):
        raise ConfigError("this app has no clients: write GigaClient(app) where it is made")
    return clients


def _default() -> GigaChat:
    return get_client(kind=GigaChat)


gigachat: GigaChat = cast("GigaChat", LocalProxy(_default))
"""The client of the alias ``"default"``, of the current app, as :data:`flask.current_app` is the app: for views."""


# -- answers -----------------------------------------------------------------------------------------------------------


def stream_response(
    stream: Readable,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    ping_s: float = 2.0,
    render: Callable[[Any], str | Mapping[str, Any] | None] | None = None,
    on_end: Callable[[Any], object] | None = None,
    reader_timeout_s: float = 60.0,
) -> Response:
    """An opened stream as a ``text/event-stream`` response; what is on the wire is at
    :mod:`gigaclient.contrib.event_stream`.

    Returns when the first chunk is here, so that an error before it is still an exception in the view, and a status.
    The view's contexts have ended when the rest comes: ``render``, ``on_end`` and functions that ``run_stream`` runs
    are called in an application context of their own (``current_app``, ``g``, a database session). What they need of
    ``request`` and ``session``, take into variables in the view.

    Args:
        stream: an opened stream of any kind, ``gigachat.stream(…)`` for one.
        status, headers: of the response; the headers are added to :data:`~gigaclient.contrib.event_stream.HEADERS`.
        ping_s, render, on_end, reader_timeout_s: as for :class:`~gigaclient.contrib.event_stream.EventStream`.

    Raises:
        ConfigError: an argument cannot work.
        GigaClientError: as the stream raises it, when there was no first chunk.
    """
    try:
        # Not the proxy: what follows runs where there is no current app.
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    except BaseException:
        stream.close()
        raise
    _warn_of_sync_worker(app)

    def tell(completion: Any) -> None:
        assert on_end is not None
        with app.app_context():
            on_end(completion)

    body = EventStream(
        stream,
        ping_s=ping_s,
        render=render,
        on_end=tell if callable(on_end) else on_end,
        reader_timeout_s=reader_timeout_s,
        within=app.app_context,
    )
    try:
        response = app.response_class(body, status=status)
        response.headers.update(dict(body.headers))
        response.headers.update(dict(headers or {}))
    except BaseException:  # a header that cannot be one
        body.close()
        raise
    return response


def error_response(error: GigaClientError) -> Response:
    """The JSON response for an error: its status, ``Retry-After`` if the service said how long to wait, and
    :func:`~gigaclient.contrib.event_stream.error_payload` as the body. For error handlers of your own.
    """
    body = json.dumps(error_payload(error), ensure_ascii=False)
    return current_app.response_class(
        body, status=status_of(error), headers=error_headers(error), mimetype="application/json"
    )


def _handle(error: GigaClientError) -> Response:
    if isinstance(error, ConfigError):
        # A mistake in the program: shown where Flask shows those, in the debugger and to tests.
        propagate = current_app.config["PROPAGATE_EXCEPTIONS"]
        if propagate or (propagate is None and (current_app.testing or current_app.debug)):
            raise error
        current_app.log_exception(sys.exc_info())
    else:
        current_app.logger.warning("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
    return error_response(error)


def _check(setting: Any) -> None:
    # What can be said before a client is made; the rest is said when it is.
    for alias, options in options_by_alias(setting).items():
        for told in unknown_options(provider_of(alias, options), options).values():
            raise ConfigError(f"{place_of(alias)}: {told}")


_told_of_sync_worker = False


def _warn_of_sync_worker(app: Flask) -> None:
    global _told_of_sync_worker
    if _told_of_sync_worker or not has_request_context():
        return
    environment = request.environ
    if str(environment.get("SERVER_SOFTWARE", "")).startswith("gunicorn/") and not environment.get("wsgi.multithread"):
        _told_of_sync_worker = True
        app.logger.warning(
            "gunicorn's sync worker is killed in the middle of a stream that takes longer than --timeout, and serves "
            "nobody else meanwhile: start it with --worker-class gthread --threads 16"
        )
