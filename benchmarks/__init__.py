"""What a client library adds to a call, measured beside its peers and the floors below it: ``make bench``."""

from __future__ import annotations
