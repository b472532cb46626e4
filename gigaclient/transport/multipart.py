"""Encode a form with a file as ``multipart/form-data`` (RFC 7578)."""

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
    """Return the body, which holds a copy of ``content``, and its ``Content-Type``.

    Args:
        name: the name of the file's field.
        content: the content of the file.
        filename: the name of the file, sent in UTF-8; ``"`` and line breaks are quoted as browsers do it.
        content_type: the MIME type of the file.
        headers: further headers of the file's part.
        fields: the other fields; sent first, so that a server that reads incrementally has them in time.
    """
    part = RequestField(name, content, filename=filename, headers=dict(headers))
    part.make_multipart(content_type=content_type)
    text_parts = [RequestField.from_tuples(field, value) for field, value in fields.items()]
    return encode_multipart_formdata([*text_parts, part])
