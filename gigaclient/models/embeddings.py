"""Our types under the names of the official SDK's ``gigachat.models.embeddings``."""

from __future__ import annotations

from gigaclient.types import Embedding, Embeddings, EmbeddingsUsage

__all__ = [
    "Embedding",
    "Embeddings",
    "EmbeddingsUsage",
]
