"""Our types under the names of the official SDK's ``gigachat.models.threads``."""

# ruff: noqa: F403 - the module of the types has the list

from __future__ import annotations

from gigaclient.types.threads import *
