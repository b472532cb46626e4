"""The models that a key may use.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-models
"""

from __future__ import annotations

from gigaclient.types.base import APIResponse

__all__ = ["Model", "Models"]


class Model(APIResponse):
    """One model: ``GET /models/{model}``.

    Attributes:
        id: its id, for ``model=``.
        type: ``chat``, ``embedder``, ``aicheck``, ``filter``; others may come, and old servers send none.
        owned_by: its provider.
        object: the server's name for this kind of response.
    """

    id: str
    type: str | None = None
    owned_by: str | None = None
    object: str | None = None

    def _repr_html_(self) -> str:
        return _table([self])


class Models(APIResponse):
    """The models that this key may use: ``GET /models``.

    Attributes:
        data: the models, in the server's order.
        object: the server's name for this kind of response.
    """

    data: list[Model]
    object: str | None = None

    def _repr_html_(self) -> str:
        return _table(self.data)


def _table(models: list[Model]) -> str:
    from gigaclient.types.tables import table

    return table(("model", "type", "owned by"), [(model.id, model.type, model.owned_by) for model in models])
