"""The models a key may use.

Source: https://developers.sber.ru/docs/ru/gigachat/api/reference/rest/get-models
"""

from __future__ import annotations

from gigaclient.types.base import APIResponse

__all__ = ["Model", "Models"]


class Model(APIResponse):
    """One model: ``GET /models/{model}``.

    Attributes:
        id: what ``model=`` takes.
        type: ``chat``, ``embedder``, ``aicheck``, ``filter``; others may come, and old stands send none.
        owned_by: who offers it.
        object: what the server calls this kind of answer.
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
        object: what the server calls this kind of answer.
    """

    data: list[Model]
    object: str | None = None

    def _repr_html_(self) -> str:
        return _table(self.data)


def _table(models: list[Model]) -> str:
    from gigaclient.types.tables import table  # for notebooks

    return table(("model", "type", "owned by"), [(model.id, model.type, model.owned_by) for model in models])
