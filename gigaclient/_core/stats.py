"""The figures that ``giga.stats()`` returns."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Stats"]


class Stats(NamedTuple):
    """The state of a client, as ``giga.stats()`` returns it.

    Attributes:
        in_flight: calls that wait for a response or are reading one.
        waiting: calls that queue for a permit.
        limit: how many calls may run at once; ``inf`` while no limit is known.
        tokens_fetched: access tokens fetched so far.
        retries: retries of all calls so far.
        connections: connections opened so far.
    """

    in_flight: int
    waiting: int
    limit: float
    tokens_fetched: int
    retries: int
    connections: int
