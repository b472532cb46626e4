"""Our types under the names of the official SDK's ``gigachat.models.models``."""

from __future__ import annotations

from gigaclient.types import Model, Models

__all__ = [
    "Model",
    "Models",
]
