"""Our types under the names of the official SDK's ``gigachat.models.embeddings``."""

# ruff: noqa: F403 - the module of the types has the list

from __future__ import annotations

from gigaclient.types.embeddings import *
