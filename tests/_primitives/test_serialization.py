"""JSON that may be invalid: it is decoded, or it is None."""

from __future__ import annotations

import pytest

from gigaclient._primitives.serialization import decode_or_none


@pytest.mark.parametrize("data", [b"", b"{", b'"\xff"', b"[" * 100_000, b"NaN"], ids=range(5))
def test_invalid_json_is_decoded_as_none(data: bytes) -> None:
    assert decode_or_none(data) is None


def test_valid_json_is_decoded() -> None:
    assert decode_or_none(b'{"a": [1, null]}') == {"a": [1, None]}
