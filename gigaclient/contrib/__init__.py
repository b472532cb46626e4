"""gigaclient in the web frameworks: a room for each, loaded when it is imported by its own name.

:mod:`gigaclient.contrib.event_stream` needs no framework, ``gigaclient.contrib.flask`` needs ``gigaclient[flask]``,
``gigaclient.contrib.django`` needs ``gigaclient[django]``.
"""

from __future__ import annotations
