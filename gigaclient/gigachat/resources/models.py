"""The models a key may use."""

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
        """The models that this key may use: ``GET /models``.

        Args:
            options: of the call: ``timeout``, ``deadline``, ``max_retries``, ``headers``, ``request_id`` …

        Returns:
            The models in the server's order, as ``.data``; each has an ``id``, which ``model=`` takes, and a ``type``.

        Raises:
            APIStatusError: the server refused it.
            APIConnectionError, APITimeoutError, TLSError: no answer came.
            InvalidResponseError: an answer came that is not one.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-models
        """
        return self._request(Request("GET", "/models"), types.Models, options)

    def get_model(self, model: str, **options: Unpack[CallSettings]) -> types.Model:
        """One model: ``GET /models/{model}``.

        Args:
            model: its id, with a build (``GigaChat-2-Pro:2.0.31.04``) or without.
            options: of the call, as for :meth:`get_models`.

        Returns:
            The model; ``.type`` says what it is for.

        Raises:
            NotFoundError: this key has no such model.
            BadRequestError: the model has no such build.
            ConfigError: ``model`` is no id.
            APIStatusError, APIConnectionError, InvalidResponseError: as for :meth:`get_models`.

        Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-model
        """
        return self._request(Request("GET", path("models", model)), types.Model, options)
