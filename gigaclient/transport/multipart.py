"""A form with a file in it, as bytes (RFC 7578)."""

from __future__ import annotations

from collections.abc import Mapping

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

__all__ = ["form_with_file"]


def form_with_file(
    name: str,
    content: bytes,
    *,
    filename: str,
    content_type: str,
    headers: Mapping[str, str],
    fields: Mapping[str, str],
) -> tuple[bytes, str]:
    """The body, which holds a copy of ``content``, and its ``Content-Type``.

    Args:
        name: the file's field.
        content: the file.
        filename: its name: in UTF-8 as it is, with ``"`` and line breaks quoted as browsers do it.
        content_type: its MIME type.
        headers: further headers of the file's part.
        fields: the other fields, which come first, so that a server that reads as it goes knows them in time.
    """
    part = RequestField(name, content, filename=filename, headers=dict(headers))
    part.make_multipart(content_type=content_type)
    plain = [RequestField.from_tuples(field, value) for field, value in fields.items()]
    return encode_multipart_formdata([*plain, part])
