"""Write the requests of a batch as JSON lines, and read the lines of its results. Pure.

Source: https://developers.sber.ru/docs/ru/gigachat/guides/batches
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gigaclient import types
from gigaclient._core.call_arguments import CHAT_FIELDS
from gigaclient._core.error_mapping import error_in, excerpt
from gigaclient._core.messages import encode
from gigaclient._core.request_options import CALL_OPTIONS
from gigaclient._primitives.serialization import JSON_ERRORS, decode_or_none
from gigaclient._primitives.struct import fields_of
from gigaclient._primitives.surrogates import BROKEN_CHARACTERS, with_whole_characters
from gigaclient.errors import ConfigError, GigaClientError, InvalidResponseError
from gigaclient.gigachat.request_body import chat_body
from gigaclient.types.base import untyped
from gigaclient.types.coercion import coerce
from gigaclient.types.completion import add_repairs

__all__ = ["METHODS", "encode_requests", "in_order", "lines", "read_requests", "read_result", "with_ids"]

METHODS = {"chat_completions": CHAT_FIELDS, "embedder": frozenset({"model"})}
"""The methods of a batch, and the body fields that the options may set in each request."""

EMBEDDING_MODEL = "Embeddings"

# The id at the start of a line with broken JSON.
_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*("(?:[^"\\]|\\.)*")')


# -- requests --------------------------------------------------------------------------------------------------------


def with_ids(requests: Any) -> Iterator[tuple[str, Any]]:
    """Yield each request with its id; a request without one gets the id ``row-<position>``, counted from 1.

    Raises:
        ConfigError: an id is not valid or not unique, or there are no requests.
    """
    if isinstance(requests, Mapping):
        raise ConfigError(
            "a batch takes a list of requests: put a single one into a list; pass ids and requests as .items()"
        )
    if isinstance(requests, msgspec.Struct) or not isinstance(requests, Iterable):
        raise ConfigError(f"a batch takes a list of requests, not {type(requests).__name__}")
    seen: set[str] = set()
    for position, item in enumerate(requests, 1):
        row_id, request = _id_and_request(item, position)
        if row_id in seen:
            raise ConfigError(f"two requests have the id {row_id!r}: it identifies the results")
        seen.add(row_id)
        yield row_id, _copy(request)
    if not seen:
        raise ConfigError("there are no requests: a batch needs at least one")


def _id_and_request(item: Any, position: int) -> tuple[str, Any]:
    row_id: Any = f"row-{position}"
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        row_id, item = item
    elif isinstance(item, Mapping) and "request" in item:
        row_id, item = item.get("id", row_id), item["request"]
    elif isinstance(item, Mapping) and "id" in item:
        raise ConfigError(f'request {position}: an id goes next to the request: {{"id": "…", "request": {{…}}}}')
    if not isinstance(row_id, str) or not row_id:
        raise ConfigError(f"request {position}: its id must be a string that is not empty, not {row_id!r}")
    return row_id, item


def _copy(request: Any) -> Any:
    """Return a copy, because the caller may reuse and extend the same list for the next request."""
    if isinstance(request, Mapping):
        return dict(request)
    if isinstance(request, (str, bytes, msgspec.Struct)) or not isinstance(request, Iterable):
        return request
    return list(request)


def encode_requests(
    requests: Any, method: str, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any]]:
    """Return the file, and the requests by their ids.

    Args:
        requests: as for :func:`with_ids`.
        method: one of :data:`METHODS`.
        options: body fields for each request; names of call options are left out.
        defaults: body fields of chats that do not set them.

    Raises:
        ConfigError: a request cannot be sent; the message says which one, and what to change.
    """
    rows: list[bytes] = []
    by_id: dict[str, Any] = {}
    for row_id, request in with_ids(requests):
        reason = None
        try:
            if method == "embedder":
                body = _embeddings_body(request, options)
            else:
                body = chat_body(request, options, defaults, stream=False)
            rows.append(b'{"id":%b,"request":%b}\n' % (encode(row_id, "id"), body))
        except ConfigError as error:
            reason = error.message
        if reason is not None:
            raise ConfigError(f"the request {row_id!r}: {reason}")
        by_id[row_id] = request
    return b"".join(rows), by_id


def _embeddings_body(request: Any, options: Mapping[str, Any]) -> bytes:
    fields = {name: value for name, value in options.items() if value is not None and name not in CALL_OPTIONS}
    body: dict[str, Any] = {"input": request}
    if isinstance(request, Mapping):
        body = {name: value for name, value in request.items() if value is not None}
    elif isinstance(request, msgspec.Struct):
        body = fields_of(request)
    texts = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError('an embedder takes a text, a list of texts, or a dict with "input"')
    return encode({"model": EMBEDDING_MODEL, **body, "input": list(texts), **fields})


def read_requests(content: bytes) -> dict[str, Any]:
    """Return the requests of an existing file by their ids.

    Raises:
        ConfigError: the file has no rows, or an invalid one; the message says which line.
    """
    by_id: dict[str, Any] = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        row = decode_or_none(line)
        row_id = row.get("id") if isinstance(row, dict) else None
        if not isinstance(row_id, str) or not row_id or not isinstance(row.get("request"), dict):
            raise ConfigError(f'line {number} of the batch must be {{"id": "…", "request": {{…}}}} in JSON')
        if row_id in by_id:
            raise ConfigError(f"line {number} of the batch has the id {row_id!r} once more")
        by_id[row_id] = row["request"]
    if not by_id:
        raise ConfigError("the batch is empty: it needs at least one request")
    return by_id


# -- results ---------------------------------------------------------------------------------------------------------


def lines(blocks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield the lines of a file that arrives in blocks, without their ends.

    Raises:
        InvalidResponseError: a line is longer than ``limit`` bytes.
    """
    parts: list[bytes] = []
    length = 0
    for block in blocks:
        # splitlines() would also split at characters that do not end a line in JSON Lines.
        first, *rest = block.split(b"\n")
        parts.append(first)
        length += len(first)
        for piece in rest:
            yield b"".join(parts)
            parts, length = [piece], len(piece)
        if length > limit:
            raise InvalidResponseError(f"a line of the file is longer than {limit} bytes", status_code=200)
    yield b"".join(parts)


def read_result(line: bytes, requests: Mapping[str, Any]) -> types.BatchResult | None:
    """Return the result in a line, or None for a blank line; invalid content becomes the result's error."""
    line = line.removeprefix(b"\xef\xbb\xbf").strip()
    if not line:
        return None
    row, repairs = _decode_row(line)
    if not isinstance(row, dict):
        row_id = _id_of_broken(line)
        raw: dict[str, Any] = {"data": excerpt(line)}
    else:
        row_id, raw = row.get("id"), row
    row_id = "" if row_id is None else str(row_id)
    result = types.BatchResult(id=row_id, request=requests.get(row_id), raw=raw)
    if isinstance(row, dict):
        _read_payload(result, row)
        add_repairs(result.completion, repairs)
    else:
        result.error = InvalidResponseError(
            "a row of the results cannot be read: it is not a JSON object", status_code=200, body=excerpt(line)
        )
    return result


def _decode_row(line: bytes) -> tuple[Any, tuple[str, ...]]:
    """Return the decoded line, or None, and what was mended in it."""
    try:
        return msgspec.json.decode(line), ()
    except JSON_ERRORS:
        pass
    try:
        return msgspec.json.decode(with_whole_characters(line)), (BROKEN_CHARACTERS,)
    except JSON_ERRORS:
        return untyped(line), ()


def _id_of_broken(line: bytes) -> Any:
    match = _ID.match(line)
    return untyped(match[1]) if match is not None else None


def _read_payload(result: types.BatchResult, row: Mapping[str, Any]) -> None:
    failed = row.get("error")
    response = row.get("response")
    status = None
    if isinstance(response, Mapping):
        status = response.get("status_code", response.get("status"))
        failed = failed if failed is not None else response.get("error")
        payload = response.get("body", response)
    else:
        payload = row.get("result", row.get("body", response))
    if failed is not None:
        result.error = _failure(failed, status)
        return
    try:
        if isinstance(payload, Mapping) and payload.get("choices"):
            result.completion = coerce(payload, types.ChatCompletion).attach(raw=payload)
            return
        if isinstance(payload, Mapping) and isinstance(payload.get("data"), list):
            embeddings = coerce(payload, types.Embeddings).attach(raw=payload)
            if all(item.index >= 0 for item in embeddings.data):
                embeddings.data.sort(key=lambda item: item.index)
            result.embeddings = embeddings
            return
    except JSON_ERRORS as error:
        reason = str(error)
    else:
        reason = "it holds neither an answer nor an error"
    result.error = error_in({"status": status, **payload}, request_id=None) if isinstance(payload, Mapping) else None
    if result.error is None:
        result.error = InvalidResponseError(
            f"a row of the results is not what the API promises: {reason}", status_code=200, body=_excerpt(row)
        )


def _failure(failed: Any, status: Any) -> GigaClientError:
    report = {"error": failed} if status is None else {"error": failed, "status": status}
    return error_in(report, request_id=None) or InvalidResponseError(
        f"the row failed, and does not say how: {_excerpt(failed)}", status_code=200, body=_excerpt(failed)
    )


def _excerpt(value: Any) -> str:
    return excerpt(msgspec.json.encode(value))


def in_order(results: Sequence[types.BatchResult], requests: Mapping[str, Any]) -> list[types.BatchResult]:
    """Return the results in the order of their requests, with an error for each missing row; unknown rows come last."""
    by_id: dict[str, list[types.BatchResult]] = {}
    for result in results:
        by_id.setdefault(result.id, []).append(result)
    ordered: list[types.BatchResult] = []
    for row_id, request in requests.items():
        ordered += by_id.pop(row_id, []) or [_missing(row_id, request)]
    for rest in by_id.values():
        ordered += rest
    return ordered


def _missing(row_id: str, request: Any) -> types.BatchResult:
    error = InvalidResponseError(f"the results have no row {row_id!r}", status_code=200)
    return types.BatchResult(id=row_id, request=request, error=error)
