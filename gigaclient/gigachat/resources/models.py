"""The models that a key may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient import types
from gigaclient.gigachat.resource import APIResource
from gigaclient.transport.request import Request, path

if TYPE_CHECKING:
    from gigaclient._core.settings import CallSettings, Unpack

__all__ = ["ModelsEndpoints"]


class ModelsEndpoints(APIResource):
    """``/models``."""

    def get_models(self, **options: Unpack[CallSettings]) -> types.Models:
        """List the models that this key may use: ``GET /models``.

        Args:
            options: call options: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The models in the server's order, as ``.data``; each has an ``id``, which ``model=`` takes, and a ``type``.

        Raises:
            APIStatusError: the server rejected the request.
            APIConnectionError, APITimeoutError, TLSError: there was no response.
            InvalidResponseError: the response is not what the API promises.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-models
        """
        return self._request(Request("GET", "/models"), types.Models, options)

    def get_model(self, model: str, **options: Unpack[CallSettings]) -> types.Model:
        """Return one model: ``GET /models/{model}``.

        Args:
            model: its id, with a build (``GigaChat-2-Pro:2.0.31.04``) or without.
            options: call options, as for :meth:`get_models`.

        Returns:
            The model; ``.type`` is its purpose.

        Raises:
            NotFoundError: this key has no such model.
            BadRequestError: the model has no such build.
            ConfigError: ``model`` is not an id.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_models`.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-model
        """
        return self._request(Request("GET", path("models", model)), types.Model, options)
