"""One module per contender, each with a ``Client``: ``call()`` returns a text, ``stream()`` yields texts.

A module imports its library and nothing heavier, since importing it is one of the things measured. All are given a
ready token, unless ``auth_url`` says where to get one.
"""

from __future__ import annotations
