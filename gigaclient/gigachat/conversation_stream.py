"""A turn of a conversation in progress, and its stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from gigaclient.errors import ConfigError, GigaClientError
from gigaclient.gigachat.history import History
from gigaclient.gigachat.tool_loop import RunStream
from gigaclient.streaming.stream import ChatStream
from gigaclient.types import ChatCompletion, ChatCompletionChunk, Usage
from gigaclient.types.tool_runs import Run, Step

__all__ = ["ConversationStream", "PendingTurn"]


class PendingTurn:
    """A turn in progress: the request, and how its response joins the history.

    Args:
        history: the earlier turns that the request includes.
        message: the message of this turn.
        functions: the functions to run; None for a turn without any.
        options: the options of the request.
        join: adds the turn to the history of its conversation.
    """

    __slots__ = ("_join", "functions", "history", "message", "options", "prompt")

    def __init__(
        self,
        history: History,
        message: Any,
        functions: Any,
        options: dict[str, Any],
        join: Callable[[PendingTurn, list[Any], ChatCompletion, Run[ChatCompletion, Usage] | None], None],
    ) -> None:
        self.history = history
        self.message = message
        self.prompt = [*history.messages, message]
        self.functions = functions
        self.options = options
        self._join = join

    def commit(self, result: ChatCompletion | Run[ChatCompletion, Usage]) -> None:
        """Add the turn and its response to the history."""
        if isinstance(result, Run):
            self._join(self, result.messages[len(self.prompt) :], result.completion, result)
        else:
            self._join(self, [result.message], result, None)


class ConversationStream(Iterator[ChatCompletionChunk]):
    """The stream of a turn, with the interface of :class:`~gigaclient.streaming.stream.ChatStream`.

    The turn joins the history when the stream ends. If the stream breaks, is closed or dropped, it does not;
    :attr:`text` and :attr:`completion` still hold what arrived. Functions that were run are in :attr:`steps`, and the
    turn's ``on_step`` gets each when it has run.
    """

    def __init__(
        self,
        stream: ChatStream | RunStream[ChatCompletionChunk, ChatCompletion, Usage],
        turn: PendingTurn,
        release: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._turn = turn
        self._release: Callable[[], None] | None = release

    @property
    def text(self) -> str:
        """The text that has arrived so far."""
        return self._stream.text

    @property
    def completion(self) -> ChatCompletion:
        """The response so far; complete once the stream has ended."""
        return self._stream.completion

    @property
    def steps(self) -> list[Step]:
        """The functions called so far."""
        return self._stream.steps if isinstance(self._stream, RunStream) else []

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-Id`` of the call."""
        return self._stream.request_id

    @property
    def closed(self) -> bool:
        """True once the stream has ended, failed or been closed."""
        return self._stream.closed

    def result(self) -> ChatCompletion:
        """Read the rest and return the complete response.

        Raises:
            StreamInterruptedError: the stream was closed or failed early. Errors of the iteration come through.
        """
        for _ in self:
            continue
        result = self._stream.result()
        return result.completion if isinstance(result, Run) else result

    def close(self) -> None:
        """Close the connection and end the turn; a read that is blocked in another thread ends at once."""
        self._stream.close()
        self._finish_turn()

    def __iter__(self) -> ConversationStream:
        return self

    def __next__(self) -> ChatCompletionChunk:
        try:
            for event in self._stream:
                if not isinstance(event, Step):
                    return event
            self._commit()
        except ConfigError:
            raise  # a second thread may not read, and the first one goes on
        except BaseException:
            self._finish_turn()
            raise
        self._finish_turn()
        raise StopIteration

    def _commit(self) -> None:
        if self._release is None:
            return
        try:
            result = self._stream.result()
        except GigaClientError:
            return  # closed before it was complete
        self._turn.commit(result)

    def _finish_turn(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> ConversationStream:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_release", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<ConversationStream of {self._stream!r}>"
