"""Count the tokens of texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gigaclient import types
from gigaclient._core.messages import encode
from gigaclient._core.responses import decode, invalid_response
from gigaclient._primitives.decoding import decoder
from gigaclient.gigachat.resource import APIResource
from gigaclient.gigachat.resources._validation import checked_text, checked_texts
from gigaclient.transport.request import Request
from gigaclient.types.base import untyped

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["TokensEndpoints"]


class TokensEndpoints(APIResource):
    """``/tokens/count``."""

    def tokens_count(
        self, input_: str | Iterable[str], model: str | None = None, **options: Unpack[CallSettings]
    ) -> list[types.TokensCount]:
        """Count the tokens of texts: ``POST /tokens/count``. Free of charge.

        Args:
            input_: one text or several, which are sent in one request; a text may be empty.
            model: the model whose tokens are counted; the client's when None.
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            One item for each text, in their order: ``.tokens``, and ``.characters`` in code points.

        Raises:
            ConfigError: there is no text, or one is not a string.
            NotFoundError: this key has no such model.
            InvalidResponseError: the response does not have one count for each text.
            APIStatusError, APIConnectionError, APITimeoutError, TLSError: as for every call.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/post-tokens-count
        """
        texts = checked_texts(input_, "input_", allow_empty=True)
        model = self._settings.model if model is None else checked_text(model, "model", "name of a model")
        response = self._send(Request("POST", "/tokens/count", body=encode({"model": model, "input": texts})), options)
        counts = decode(response, decoder(list[types.TokensCount]))
        if len(counts) != len(texts):
            raise invalid_response(response, f"it has {len(counts)} counts for {len(texts)} texts")
        for count, raw in zip(counts, untyped(response.body), strict=True):
            count.attach(raw=raw, request_id=response.request_id, headers=response.headers)
        return counts
