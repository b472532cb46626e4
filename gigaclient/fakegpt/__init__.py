"""FakeGpt: Pandora-style proxies of ChatGPT; their login, requests and streams."""

from __future__ import annotations

from gigaclient.fakegpt.client import FakeGpt

__all__ = ["FakeGpt"]
