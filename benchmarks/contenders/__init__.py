"""One module per contender, each with a ``Client``: ``call()`` returns a text, ``stream()`` yields texts.

A module imports its library and nothing heavier, because its import is measured too. Each client gets a ready token,
unless ``auth_url`` is the address that issues one.
"""

from __future__ import annotations
