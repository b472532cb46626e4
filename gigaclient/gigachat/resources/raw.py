"""Call any endpoint, also one that has no method here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import quote, urlencode, urlsplit

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient.errors import ConfigError
from gigaclient.gigachat.resource import APIResource, names_a_version
from gigaclient.transport import origin_of
from gigaclient.transport.request import Request, RetrySafety

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigaclient._core.settings import CallSettings, Unpack
    from gigaclient.gigachat.raw_stream import RawEventStream

    QueryValue = str | int | float | bool
    Query = Mapping[str, QueryValue | Sequence[QueryValue] | None]

    class RawSettings(CallSettings, total=False):
        """The arguments that both overloads of :meth:`RawEndpoints.request` take."""

        json: Any
        data: bytes | str | None
        content_type: str | None
        query: Query | None
        repeat: bool


__all__ = ["RawEndpoints"]

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_UNQUOTED = "/%:@!$&'()*+,;=~-._"


class RawEndpoints(APIResource):
    """``giga.request``."""

    @overload
    def request(
        self,
        method: str,
        path: str,
        *,
        stream: Literal[False] = False,
        **options: Unpack[RawSettings],
    ) -> types.RawResponse: ...

    @overload
    def request(
        self,
        method: str,
        path: str,
        *,
        stream: Literal[True],
        **options: Unpack[RawSettings],
    ) -> RawEventStream: ...

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | str | None = None,
        content_type: str | None = None,
        query: Query | None = None,
        stream: bool = False,
        repeat: bool = False,
        **options: Unpack[CallSettings],
    ) -> types.RawResponse | RawEventStream:
        """Call any endpoint with this client's token, retries, limits and errors.

        Args:
            method: the HTTP method.
            path: below ``base_url``: ``"/models"``. A path that begins with a version (``"/v2/…"``, ``"/api/v2/…"``) is
                relative to the host. The host of an absolute URL must be one of this client's.
            json: the body, sent as JSON: dicts, lists, and the types of :mod:`gigaclient.types`.
            data: the body as bytes or text, instead of ``json``.
            content_type: the MIME type of ``data``; text (UTF-8) or bytes by default.
            query: parameters of the query string; a list repeats the name, None is omitted.
            stream: True returns an event stream. The request must ask the server for it, with ``"stream": True`` in the
                body for example.
            repeat: True if it is safe to send the request twice; GET, HEAD and OPTIONS always are. Other requests are
                retried only if the server rejected them unread (429, 503) or they were certainly not sent.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The response: ``.status_code``, ``.headers``, ``.content`` (bytes), ``.text``, ``.json()``, ``.request_id``.
            With ``stream``: an :class:`~gigaclient.gigachat.raw_stream.RawEventStream`.

        Raises:
            ConfigError: the request is invalid.
            APIStatusError: the server rejected the request. Errors inside a 2xx response are not detected.
            APIConnectionError, APITimeoutError, TLSError: there was no response.
            InvalidResponseError: ``stream`` is set, and the response is not an event stream.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api
        """
        settings = self._call_settings(options)
        method = method.upper() if isinstance(method, str) else ""
        if not (method.isascii() and method.isalpha()) or method == "CONNECT":
            raise ConfigError('method must be an HTTP method, such as "GET" or "POST"')
        body, body_type = _body(json, data, content_type)
        request = Request(
            method,
            self._raw_path(path, query),
            body=body,
            content_type=body_type,
            accept="text/event-stream" if stream else "*/*",
            retry_safety=RetrySafety.IDEMPOTENT if repeat or method in _SAFE_METHODS else RetrySafety.NON_IDEMPOTENT,
        )
        if stream:
            from gigaclient.gigachat.raw_stream import RawEventStream

            events = self._send_stream(request, settings)
            return RawEventStream(events, events.request_id)
        response = self._send_with_options(request, settings)
        return types.RawResponse(response.status, response.headers, response.body, response.request_id)

    def _raw_path(self, path: str, query: Query | None) -> str:
        if not isinstance(path, str) or not path or path != path.strip():
            raise ConfigError(f'path must be an address below base_url, such as "/models", not {path!r}')
        if "?" in path or "#" in path:
            raise ConfigError("path must not have a query or a fragment: pass query={…}")
        if "://" in path:
            parts = urlsplit(path)
            url = origin_of(path) + quote(parts.path, safe=_UNQUOTED)
        else:
            url = quote("/" + path.lstrip("/"), safe=_UNQUOTED)
            if names_a_version(url):
                url = origin_of(self._settings.base_url) + url
        if query is None:
            return url
        if not isinstance(query, Mapping):
            raise ConfigError("query must be a mapping of names to values")
        encoded = urlencode(
            {name: _query_value(value) for name, value in query.items() if value is not None}, doseq=True
        )
        return f"{url}?{encoded}" if encoded else url


def _query_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return [_query_value(inner) for inner in value]
    if not isinstance(value, (str, int, float)):
        raise ConfigError(f"a value of the query must be text or a number, not {type(value).__name__}")
    return value


def _body(json: Any, data: Any, content_type: str | None) -> tuple[bytes | None, str | None]:
    if data is None:
        if json is None:
            return None, None
        return encode(json), content_type or "application/json"
    if json is not None:
        raise ConfigError("json and data are both the body: pass one of them")
    if isinstance(data, str):
        return data.encode("utf-8", "strict"), content_type or "text/plain; charset=utf-8"
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data), content_type or "application/octet-stream"
    raise ConfigError(f"data must be bytes or a string, not {type(data).__name__}; pass a dict as json=")
