"""The base of all endpoint classes: send a request with the client's options and decode the response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gigaclient._core.base_client import BaseClient
from gigaclient._core.call_arguments import check_names
from gigaclient._core.executor import MAX_RESPONSE_BYTES
from gigaclient._core.request_options import RequestOptions, call_options
from gigaclient._core.responses import embedded_error, invalid_response, parse_response, refuse_page
from gigaclient._primitives.deadline import Deadline
from gigaclient.errors import GigaClientError
from gigaclient.gigachat.settings import GigaChatSettings
from gigaclient.transport.request import EVENT_STREAM, Request
from gigaclient.types import APIResponse

if TYPE_CHECKING:
    from gigaclient.transport import Response

__all__ = ["APIResource", "Resource", "names_a_version", "parse_response"]

ResponseT = TypeVar("ResponseT", bound=APIResponse)


def names_a_version(path: str) -> bool:
    """Return whether ``path`` begins with an API version (``/v2/…``, ``/api/v1/…``), so is not below the base URL."""
    first, second = [*path.split("/"), ""][1:3]
    version = second if first == "api" else first
    return version[:1] == "v" and version[1:].isdigit()


class APIResource(BaseClient[GigaChatSettings]):
    """The base of the endpoint classes in ``resources/``."""

    def _request(self, request: Request, type_: type[ResponseT], options: Mapping[str, Any]) -> ResponseT:
        """Send ``request`` and return its response decoded as ``type_``.

        Args:
            request: the request.
            type_: the type of the response.
            options: the call options of the caller, by name.
        """
        return parse_response(self._send(request, options), type_)

    def _send(self, request: Request, options: Mapping[str, Any], *, limit: int = MAX_RESPONSE_BYTES) -> Response:
        """Send ``request`` and return its undecoded response of at most ``limit`` bytes."""
        return self._send_with_options(request, self._call_settings(options), limit=limit)

    def _send_with_options(
        self,
        request: Request,
        settings: RequestOptions,
        *,
        limit: int = MAX_RESPONSE_BYTES,
        deadline: Deadline | None = None,
    ) -> Response:
        """Send a request whose options have been read. ``deadline`` is that of a larger call that it is part of."""
        return self._executor.fetch(request, settings, limit=limit, deadline=deadline)

    def _send_stream(self, request: Request, settings: RequestOptions) -> Response:
        """Send a streaming request and return the unread response."""
        response = self._executor.open(request, settings)
        if response.media_type != EVENT_STREAM:
            self._check_event_stream(response)
        return response

    def _check_event_stream(self, response: Response) -> None:
        if response.media_type:
            refuse_page(response, _no_event_stream)

    def _call_settings(self, options: Mapping[str, Any], parameters: Iterable[str] = ()) -> RequestOptions:
        """Read the options of one call.

        Args:
            options: the call options of the caller, by name.
            parameters: as for :func:`check_names`.

        Raises:
            TypeError: an option has an unknown name.
            ConfigError: a value cannot work, or the client is closed.
        """
        self._check_open()
        check_names(options, frozenset(), parameters)
        return call_options(dict(options), self._executor.timeouts, self._settings.session_id)


class Resource:
    """The base of resources. It belongs to a client and has no state.

    The client refers to it weakly, because a circle would keep the connections of a dropped client until the garbage
    collector runs. An attribute that a test replaces makes the reference a strong one.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        vars(vars(self)["_client"]).setdefault("_replaced", []).append(self)


def _no_event_stream(response: Response) -> GigaClientError:
    return embedded_error(response) or invalid_response(response, "it is not an event stream")
