"""Any endpoint at all, on the road that the others go."""

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

__all__ = ["RawEndpoints"]

_READS = ("GET", "HEAD", "OPTIONS")
_UNQUOTED = "/%:@!$&'()*+,;=~-._"


class RawEndpoints(APIResource):
    """``giga.request``."""

    @overload
    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | str | None = None,
        content_type: str | None = None,
        query: Query | None = None,
        stream: Literal[False] = False,
        repeat: bool = False,
        **options: Unpack[CallSettings],
    ) -> types.RawResponse: ...

    @overload
    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | str | None = None,
        content_type: str | None = None,
        query: Query | None = None,
        stream: Literal[True],
        repeat: bool = False,
        **options: Unpack[CallSettings],
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
        """Call an endpoint that has no method here, with this client's token, retries, limits and errors.

        Args:
            method: the HTTP method.
            path: below ``base_url``: ``"/models"``. One that begins with a version (``"/v2/…"``, ``"/api/v2/…"``) is
                below the host; an absolute address must be of a host that this client has.
            json: the body, sent as JSON: dicts, lists, and the types of :mod:`gigaclient.types`.
            data: the body as it is, in place of ``json``.
            content_type: what ``data`` is; text (UTF-8) or bytes by default.
            query: parameters of the query string; a list gives several of one name, None is left out.
            stream: True for an event stream, as it comes. Whatever asks the server for one (``"stream": True`` in the
                body, say) is up to you.
            repeat: True when sending the call twice does no harm. Otherwise, unless it only reads (GET, HEAD,
                OPTIONS), it is repeated only when the server turned it away unread (429, 503) or it surely was not
                sent.
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The answer: ``.status_code``, ``.headers``, ``.content`` (bytes), ``.text``, ``.json()``, ``.request_id``.
            With ``stream``: an :class:`~gigaclient.gigachat.raw_stream.RawEventStream`.

        Raises:
            ConfigError: the request cannot be sent as it is.
            APIStatusError: the server refused it. An error inside a good answer is left for you to find.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            InvalidResponseError: with ``stream``: what came is no event stream.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/gigachat-api
        """
        settings = self._call_settings(options)
        method = method.upper() if isinstance(method, str) else ""
        if not (method.isascii() and method.isalpha()) or method == "CONNECT":
            raise ConfigError('method must be an HTTP method, such as "GET" or "POST"')
        body, kind = _body(json, data, content_type)
        request = Request(
            method,
            self._raw_path(path, query),
            body=body,
            content_type=kind,
            accept="text/event-stream" if stream else "*/*",
            retry_safety=RetrySafety.IDEMPOTENT if repeat or method in _READS else RetrySafety.NON_IDEMPOTENT,
        )
        if stream:
            from gigaclient.gigachat.raw_stream import RawEventStream

            response, request_id = self._send_stream(request, settings)
            return RawEventStream(response, request_id)
        answered = self._send_with_options(request, settings)
        return types.RawResponse(answered.status, answered.headers, answered.body, answered.request_id)

    def _raw_path(self, path: str, query: Query | None) -> str:
        if not isinstance(path, str) or not path or path != path.strip():
            raise ConfigError(f'path must be an address below base_url, such as "/models", not {path!r}')
        if "?" in path or "#" in path:
            raise ConfigError("path must not have a query or a fragment: pass query={…}")
        if "://" in path:
            parts = urlsplit(path)
            place = origin_of(path) + quote(parts.path, safe=_UNQUOTED)
        else:
            place = quote("/" + path.lstrip("/"), safe=_UNQUOTED)
            if names_a_version(place):
                place = origin_of(self._settings.base_url) + place
        if query is None:
            return place
        if not isinstance(query, Mapping):
            raise ConfigError("query must be a mapping of names to values")
        asked = urlencode({name: _shown(value) for name, value in query.items() if value is not None}, doseq=True)
        return f"{place}?{asked}" if asked else place


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return [_shown(inner) for inner in value]
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
