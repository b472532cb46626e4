"""Measures what a client library adds to a call, compared with other libraries and with the lowest possible cost.

Run it with ``make bench``.
"""

from __future__ import annotations
