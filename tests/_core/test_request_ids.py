"""Tests that request ids are random UUIDs that no seed and no fork repeats."""

from __future__ import annotations

import os
import random
import sys
import uuid

import pytest

from gigaclient._core.request_options import new_id


def test_they_are_random_uuids() -> None:
    found = [new_id() for _ in range(200)]
    assert len(set(found)) == 200
    for text in found:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_a_program_that_seeds_its_randomness_gets_other_ids_each_time() -> None:
    found = set()
    state = random.getstate()
    try:
        for _ in range(3):
            random.seed(17)
            found.add(new_id())
    finally:
        random.setstate(state)
    assert len(found) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_forked_children_generate_different_ids() -> None:
    """A generator that the fork copied would give parent and children the same ids."""
    found = []
    for _ in range(3):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, new_id().encode())
            os._exit(0)
        os.waitpid(child, 0)
        found.append(os.read(reading, 100).decode())
        os.close(reading)
        os.close(writing)
    found += [new_id() for _ in range(3)]
    assert len(set(found)) == 6
