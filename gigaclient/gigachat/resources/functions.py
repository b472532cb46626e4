"""Function specifications: convert from OpenAPI, and validate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient._core.responses import embedded_error
from gigaclient._primitives.surrogates import joined_pairs
from gigaclient.errors import ConfigError, NotFoundError
from gigaclient.gigachat.resource import APIResource, parse_response
from gigaclient.gigachat.resources._validation import advising, checked_text
from gigaclient.transport.request import Request

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["FunctionsEndpoints"]


class FunctionsEndpoints(APIResource):
    """``/functions``."""

    def openapi_function_convert(
        self, openapi_function: str | bytes | Mapping[str, Any], **options: Unpack[CallSettings]
    ) -> types.OpenApiFunctions:
        """Convert an OpenAPI description into functions for chat: ``POST /functions/convert``.

        Args:
            openapi_function: the description, in YAML or JSON, as text or UTF-8; or as a dict, which is sent as JSON.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            One function for each operation, as ``.functions``: pass them to chat unchanged.

        Raises:
            ConfigError: there is nothing to send, or it is not UTF-8.
            BadRequestError: it is not an OpenAPI description.
            NotFoundError: this address no longer offers the conversion; the newest API description omits it.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-functions-convert
        """
        # Without a Content-Type, as the official SDK sends it: the server examines only the text.
        request = Request("POST", "/functions/convert", body=_document(openapi_function), content_type=None)
        with advising(
            NotFoundError,
            "this address does not offer the conversion (any more); base_url="
            '"https://gigachat.devices.sberbank.ru/api/v1" may',
        ):
            return self._request(request, types.OpenApiFunctions, options)

    def validate_function(
        self, function: types.Function | Mapping[str, Any], **options: Unpack[CallSettings]
    ) -> types.FunctionValidation:
        """Check the specification of a function: ``POST /functions/validate``.

        Args:
            function: a :class:`~gigaclient.types.Function`, or a dict with its fields.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The verdict: ``.valid``, with problems as ``.errors`` and suggestions as ``.warnings``. A negative verdict
                is a result, not an exception.

        Raises:
            ConfigError: ``function`` is neither, or cannot be encoded as JSON.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError, InvalidResponseError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-functions-validate
        """
        if not isinstance(function, (Mapping, msgspec.Struct)):
            raise ConfigError(f"function must be a Function or a dict of its fields, not {type(function).__name__}")
        request = Request("POST", "/functions/validate", body=encode(function, "function"))
        response = self._send(request, options)
        verdict = parse_response(response, types.FunctionValidation)
        if verdict.json_ai_rules_version is None and verdict.errors is None and verdict.warnings is None:
            refusal = embedded_error(response)  # {"status": 500, "message": …} looks like a verdict
            if refusal is not None:
                raise refusal
        return verdict


def _document(document: Any) -> bytes:
    if isinstance(document, Mapping):
        return encode(document, "openapi_function")
    if isinstance(document, (bytes, bytearray, memoryview)):
        try:
            document = str(bytes(document), "utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(f"openapi_function is not UTF-8: {error.reason} at byte {error.start}") from None
    text = checked_text(document, "openapi_function", "description")
    try:
        return joined_pairs(text).encode()
    except UnicodeDecodeError:
        raise ConfigError(
            "openapi_function holds half of a surrogate pair, which is not a character: fix the code that decoded it"
        ) from None
