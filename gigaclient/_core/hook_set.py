"""The hooks of a client, and instrumentations: hooks that also see the content of calls."""

from __future__ import annotations

import functools
import logging
import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gigaclient.errors import ConfigError

if TYPE_CHECKING:
    from gigaclient.hooks import EndEvent, RequestEvent, ResponseEvent
    from gigaclient.types import FunctionCall
    from gigaclient.types.tool_runs import Step

__all__ = ["Hooks", "Instrumentation", "check_picklable"]

_log = logging.getLogger("gigaclient")


class Instrumentation(Protocol):
    """Hooks of one object that also read requests and responses, and run around functions that a model calls.

    Those of one client are a setting (``instrumentations``), so ``with_options`` keeps them. Requests for tokens are
    never shown to them.
    """

    def on_request(self, event: RequestEvent) -> None:
        """Note that an attempt is about to be sent."""

    def on_response(self, event: ResponseEvent) -> None:
        """Note the end of an attempt, in the thread that :meth:`on_request` was called in."""

    def on_end(self, event: EndEvent) -> None:
        """Note the end of a call."""

    def read_request(self, state: dict[str, Any], body: bytes) -> None:
        """Read the body of a request, as JSON. ``state`` is that of all events of the call."""

    def read_response(self, state: dict[str, Any], response: Any) -> None:
        """Read the response: JSON as bytes, or the completion of a stream as far as it has arrived."""

    def run_tool(self, call: FunctionCall, function: Callable[[], Step]) -> Step:
        """Call ``function`` once and return its result."""


class Hooks:
    """The hooks of a client, for one purpose. The only state is the set of hooks whose failure was logged."""

    def __init__(
        self,
        provider: str,
        purpose: Literal["api", "token"],
        *,
        on_request: tuple[Callable[[RequestEvent], object], ...],
        on_response: tuple[Callable[[ResponseEvent], object], ...],
        on_end: tuple[Callable[[EndEvent], object], ...],
        instrumentations: tuple[Instrumentation, ...] = (),
    ) -> None:
        self.provider = provider
        self.purpose = purpose
        self.on_request = (*on_request, *(each.on_request for each in instrumentations))
        self.on_response = (*on_response, *(each.on_response for each in instrumentations))
        self.on_end = (*on_end, *(each.on_end for each in instrumentations))
        self.read_request = tuple(each.read_request for each in instrumentations)
        self.read_response = tuple(each.read_response for each in instrumentations)
        self._run_tool = tuple(each.run_tool for each in instrumentations)
        self._logged: set[int] = set()

    def run(self, hooks: tuple[Callable[..., object], ...], *arguments: Any) -> None:
        """Call each of ``hooks`` with an event; an error in a hook affects neither the call nor the next hook."""
        for hook in hooks:
            try:
                hook(*arguments)
            except Exception as error:
                if id(hook) not in self._logged:
                    self._logged.add(id(hook))
                    name = getattr(hook, "__qualname__", type(hook).__qualname__)
                    _log.warning(
                        "the hook %s raised %s; the call continues, and later errors of this hook are not logged",
                        name,
                        type(error).__name__,
                        exc_info=error,
                    )

    def run_tool(self, call: FunctionCall, function: Callable[[], Step]) -> Step:
        """Call ``function``, which runs the function of ``call``, inside the instrumentations."""
        for run_tool in self._run_tool:
            function = functools.partial(run_tool, call, function)
        return function()


def check_picklable(hooks: Mapping[str, tuple[Any, ...]]) -> None:
    """Check that the hooks of a client can be pickled with it.

    Raises:
        ConfigError: one of them cannot be pickled.
    """
    for name, functions in hooks.items():
        for function in functions:
            try:
                pickle.dumps(function)
            except Exception:
                reason = (
                    f"a client whose {name}= cannot be pickled cannot be pickled either: define the hook at the top of "
                    f"a module, or pickle client.with_options({name}=()) and set it again on the other side"
                )
            else:
                continue
            raise ConfigError(reason)
