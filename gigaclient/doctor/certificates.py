"""Read the names and dates of certificates that were not verified. Pure.

The ``ssl`` module decodes only certificates that it trusts, and the report is about those it refused. Use the result
only for a report, never for a decision about trust. Source: RFC 5280, section 4.1; X.690 for DER.
"""

from __future__ import annotations

import datetime
import ipaddress
from typing import ClassVar

from gigaclient._primitives.struct import FrozenStruct
from gigaclient.transport.der import der_item, name_to_text, parse_issuer

__all__ = ["Certificate", "read_certificate"]

_SUBJECT_ALTERNATIVE_NAMES = b"\x55\x1d\x11"
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_MAX_NAMES = 20


class Certificate(FrozenStruct, frozen=True, kw_only=True):
    """The content of a certificate, as far as the report needs it.

    Attributes:
        subject: the owner, such as ``CN=api.example, O=Example``; empty when it has no such names.
        issuer: the signer, in the same form.
        not_before, not_after: the period of validity; UTC.
        names: the host names and addresses that it is valid for.
        is_self_issued: True when subject and issuer are the same, as in a root.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"names"})

    subject: str
    issuer: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    names: tuple[str, ...] = ()
    is_self_issued: bool = False


def read_certificate(der: bytes) -> Certificate | None:
    """Read the certificate in ``der``; return None when it cannot be read."""
    try:
        return _parse(der)
    except (IndexError, ValueError, OverflowError):
        return None


def _parse(der: bytes) -> Certificate:
    body, issuer, position = parse_issuer(der)
    _, validity, position = der_item(body, position)
    _, subject, position = der_item(body, position)
    _, _, position = der_item(body, position)  # the public key
    begins_tag, begins, after = der_item(validity, 0)
    ends_tag, ends, _ = der_item(validity, after)
    return Certificate(
        subject=name_to_text(subject),
        issuer=name_to_text(issuer),
        not_before=_parse_time(begins_tag, begins),
        not_after=_parse_time(ends_tag, ends),
        names=_names(body, position),
        is_self_issued=subject == issuer,
    )


def _parse_time(tag: int, value: bytes) -> datetime.datetime:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits for the year: 1950 to 2049
        text = ("20" if text[:2] < "50" else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc)


def _names(body: bytes, position: int) -> tuple[str, ...]:
    while position < len(body):
        tag, content, position = der_item(body, position)
        if tag == 0xA3:  # the extensions
            _, extensions, _ = der_item(content, 0)
            return _alternative_names(extensions)
    return ()


def _alternative_names(extensions: bytes) -> tuple[str, ...]:
    position = 0
    while position < len(extensions):
        _, extension, position = der_item(extensions, position)
        _, oid, after = der_item(extension, 0)
        if oid != _SUBJECT_ALTERNATIVE_NAMES:
            continue
        tag, value, after = der_item(extension, after)
        if tag == 0x01:  # the critical flag
            _, value, _ = der_item(extension, after)
        _, general_names, _ = der_item(value, 0)
        found: list[str] = []
        offset = 0
        while offset < len(general_names) and len(found) < _MAX_NAMES:
            tag, name, offset = der_item(general_names, offset)
            if tag == _DNS_NAME:
                found.append("".join(c if c.isprintable() else "?" for c in name.decode("ascii", "replace"))[:100])
            elif tag == _IP_ADDRESS and len(name) in (4, 16):
                found.append(str(ipaddress.ip_address(name)))
        return tuple(found)
    return ()
