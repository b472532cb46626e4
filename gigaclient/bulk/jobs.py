"""What every provider can be asked of many prompts: a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gigaclient._core.base_client import Provider
from gigaclient._primitives.decoding import convert
from gigaclient.bulk.tasks import Item, Job, Outcome, Unit
from gigaclient.errors import NotFoundError
from gigaclient.transport.request import Call
from gigaclient.types import ChatCompletion, Usage
from gigaclient.types.bulk import MapResult

__all__ = ["ChatJob"]


class ChatJob(Job[Any, MapResult]):
    """``client.chat(prompt, **options)`` for each prompt."""

    def __init__(self, provider: str, options: Mapping[str, Any]) -> None:
        self.kind = f"{provider} chat"
        self.options = dict(options)

    def prepare(self, client: Provider[Any], prompt: Any) -> tuple[Any, bytes]:
        call, settings = client._chat_call(prompt, dict(self.options), stream=False)
        return (call, settings), self.content(call)

    def content(self, call: Call) -> bytes:
        """What of ``call`` says what is asked."""
        return call.body or b""

    def ask(self, client: Provider[Any], unit: Unit) -> list[Outcome]:
        call, settings = unit.items[0].request
        failure: NotFoundError
        try:
            return [Outcome(answer=client._completion(call, settings))]
        except NotFoundError as error:
            failure = error
        failure.__traceback__ = None
        sample, _ = client._chat_call(self.sample, dict(self.options), stream=False)
        # A model that was named for all of them is there for none.
        return [Outcome(error=failure, fatal=_model(call) == _model(sample))]

    def result(self, item: Item, outcome: Outcome) -> MapResult:
        return MapResult(
            input=item.input,
            index=item.index,
            completion=outcome.answer,
            value=outcome.value,
            run=outcome.run,
            error=outcome.error,
            attempts=outcome.attempts,
            seconds=outcome.seconds,
            usage=outcome.usage,
        )

    def saved(self, outcome: Outcome) -> dict[str, Any]:
        completion: ChatCompletion = outcome.answer
        return {"text": completion.text, "completion": completion.raw}

    def restored(self, line: Mapping[str, Any]) -> Outcome:
        raw = line["completion"]
        completion = convert(raw, ChatCompletion, strict=False).attach(raw=raw)
        usage = line.get("usage")
        return Outcome(answer=completion, usage=None if usage is None else convert(usage, Usage))


def _model(call: Call) -> Any:
    return msgspec.json.decode(call.body or b"{}").get("model")
