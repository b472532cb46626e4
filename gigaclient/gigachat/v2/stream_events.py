"""What the events of a v2 stream mean.

Each has a name and one JSON object; the last one is ``response.message.done``, and then the server closes. There is no
end marker, but one is no surprise. Source:
https://developers.sber.ru/docs/ru/gigachat/guides/response-token-streaming and recorded streams.
"""

from __future__ import annotations

from typing import Any

from gigaclient._core.error_mapping import error_in
from gigaclient._primitives.decoding import decoder
from gigaclient.errors import APIStatusError, GigaClientError
from gigaclient.gigachat.stream_events import ChunkReader, check_whole, reports_something_else
from gigaclient.gigachat.v2.accumulator import ResponseAccumulator
from gigaclient.streaming.sse import Event
from gigaclient.streaming.stream import End
from gigaclient.types.base import untyped
from gigaclient.types.chat_v2 import ChatCompletionResponse, ChatCompletionResponseChunk

__all__ = ["DONE", "ResponseEventParser", "failure_in"]

DONE = "response.message.done"
_ERRORS = frozenset({"error", "response.error"})

_decoder = decoder(ChatCompletionResponseChunk)


class ResponseEventParser:
    """Events of ``/v2/chat/completions`` with ``stream``.

    Attributes:
        done: whether the last event has been seen; what the server does after that is no concern of the answer.
    """

    def __init__(self, request_id: str | None) -> None:
        self._reader = ChunkReader(_decoder, request_id)
        self._request_id = request_id
        self._pieces: list[str] = []
        self.done = False

    def parse_event(self, event: Event) -> ChatCompletionResponseChunk | End | None:
        if event.event in _ERRORS:
            raise self._refusal(event.data, is_named=True)
        chunk = self._reader.read(event.data)
        if chunk is None or isinstance(chunk, End):
            return chunk
        says_nothing = not chunk.messages and chunk.finish_reason is None and event.event != DONE
        if says_nothing and (chunk.error_details is not None or reports_something_else(chunk.raw)):
            raise self._refusal(event.data, is_named=False)
        if chunk.event is None:
            chunk.event = event.event if event.event != "message" else None
        is_done = chunk.event == DONE
        text = chunk.text
        if text and self._repeats(text, chunk):
            chunk.__dict__["_repeats"] = True
        elif text:
            self._pieces.append(text)
        self.done = self.done or is_done
        return chunk

    def _repeats(self, text: str, chunk: ChatCompletionResponseChunk) -> bool:
        """Whether this is the last event, and says the text of the others again."""
        if not self._pieces or (chunk.event is not None and chunk.event != DONE):
            return False
        return chunk.event == DONE or (chunk.finish_reason is not None and text == "".join(self._pieces))

    def check_complete(self, so_far: ResponseAccumulator, *, marked: bool) -> None:
        check_whole(marked=marked, finished=self.done or so_far.finish_reason is not None)
        failure = failure_in(so_far.completion()) if so_far.finish_reason == "error" else None
        if failure is not None:
            raise failure

    def _refusal(self, data: bytes, *, is_named: bool) -> GigaClientError:
        sent = untyped(data)
        known = error_in(sent, request_id=self._request_id)
        if known is None and isinstance(sent, dict):
            # By its name alone, an event is an error whatever shape it has.
            details = sent.get("error_details") or ((sent.get("error") or sent) if is_named else None)
            known = _told(details, sent, self._request_id)
        return known or self._reader.refusal(data)


def failure_in(answer: ChatCompletionResponse) -> APIStatusError | None:
    """The error that an answer tells of in place of an end, with the answer on it; None for an answer without one."""
    if answer.finish_reason != "error":
        return None
    raw: dict[str, Any] = answer.raw
    failure = _told(answer.error_details, raw, answer.request_id)
    if failure is None:
        words = "the server ended the answer as failed and did not say why"
        failure = APIStatusError.class_for(500)(words, status_code=500, body=raw, request_id=answer.request_id)
    failure.text, failure.completion = answer.text, answer
    return failure


def _told(details: Any, body: Any, request_id: str | None) -> APIStatusError | None:
    if isinstance(details, str):
        details = {"message": details}
    if not isinstance(details, dict):
        return None
    said = [details.get(name) for name in ("message", "user_message", "detail", "error")]
    words = next((text for text in said if isinstance(text, str) and text), None)
    if words is None:
        return None
    numbers = [details.get(name) for name in ("status", "status_code", "code")]
    status = next((number for number in numbers if isinstance(number, int) and 400 <= number <= 599), 500)
    return APIStatusError.class_for(status)(words, status_code=status, body=body, request_id=request_id)
