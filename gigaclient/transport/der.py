"""Read the few fields of a certificate that messages name (X.690 for DER, RFC 5280 section 4.1 for their order).

The ``ssl`` module decodes only trusted certificates. Never use these fields to decide about trust.
"""

from __future__ import annotations

__all__ = ["der_item", "issuer_of", "name_to_text", "parse_issuer"]

_ISSUER_PARTS = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O"}


def issuer_of(der: bytes) -> str | None:
    """Return the issuer of a certificate, such as ``CN=Example CA, O=Example``; None when it cannot be read."""
    try:
        _, issuer, _ = parse_issuer(der)
        return name_to_text(issuer) or None
    except (IndexError, ValueError):
        return None


def parse_issuer(der: bytes) -> tuple[bytes, bytes, int]:
    """Return the body of a certificate, the issuer in it, and the position in the body after the issuer.

    Raises:
        IndexError, ValueError: ``der`` is not a certificate.
    """
    _, certificate, _ = der_item(der, 0)
    _, body, _ = der_item(certificate, 0)
    tag, _, position = der_item(body, 0)
    if tag == 0xA0:  # the explicit version
        _, _, position = der_item(body, position)
    _, _, position = der_item(body, position)  # the signature's algorithm
    _, issuer, position = der_item(body, position)
    return body, issuer, position


def name_to_text(name: bytes) -> str:
    """Return the common name and the organisation of a DER ``Name`` as text; empty when it has neither."""
    parts = []
    position = 0
    while position < len(name):
        _, relative, position = der_item(name, position)
        _, pair, _ = der_item(relative, 0)
        _, oid, after = der_item(pair, 0)
        tag, value, _ = der_item(pair, after)
        label = _ISSUER_PARTS.get(oid)
        if label:
            text = value.decode("utf-16-be" if tag == 0x1E else "utf-8", "replace")
            parts.append((label, "".join(c if c.isprintable() else "?" for c in text)[:100]))
    parts.sort(key=lambda part: part[0] != "CN")
    return ", ".join(f"{label}={text}" for label, text in parts)


def der_item(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Return the tag and the content of the DER element at ``position``, and the position after it."""
    tag, length = data[position], data[position + 1]
    start = position + 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise ValueError("not DER")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    end = start + length
    if end > len(data):
        raise ValueError("cut short")
    return tag, data[start:end], end
