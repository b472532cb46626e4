"""gigaclient in notebooks: ``%load_ext gigaclient`` brings ``%giga``, ``%%giga`` and ``%giga_login``.

From code: :func:`login` prompts for the key, :func:`show` shows a stream in the cell, :func:`use` sets the client of
the magics, and :func:`conversation` returns their dialogue. Needs ``gigaclient[jupyter]``. All calls block and none
uses asyncio, so they work although a kernel always runs an event loop.

There is one dialogue for each kernel, so for each notebook.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaclient.contrib.stream_reader import Readable
    from gigaclient.gigachat import GigaChat
    from gigaclient.gigachat.conversation import Conversation

__all__ = ["conversation", "load_ipython_extension", "login", "show", "unload_ipython_extension", "use"]

# The magics, by the id of the shell that they are registered with.
_loaded: dict[int, Any] = {}


def load_ipython_extension(ipython: Any) -> None:
    """Register the magics; called by ``%load_ext gigaclient``."""
    from gigaclient.contrib.jupyter.magics import Magics

    magics = Magics(ipython)
    magics.register()
    _loaded[id(ipython)] = magics


def unload_ipython_extension(ipython: Any) -> None:
    """Remove the magics, the dialogue and the client; called by ``%unload_ext gigaclient``."""
    magics = _loaded.pop(id(ipython), None)
    if magics is not None:
        magics.unregister()


def login(*, scope: str | None = None, store: bool = False, again: bool = False) -> GigaChat:
    """Ask for the authorization key without echo, validate it, show what it gives access to, and use it in the magics.

    A stored key is used without asking: from ``gigaclient login``, or from this function with ``store=True``.

    Args:
        scope: ``GIGACHAT_API_PERS``, ``GIGACHAT_API_B2B`` or ``GIGACHAT_API_CORP``; None tries all of them.
        store: store the key in the system's keyring, or without one in a file that only its owner can read.
        again: ask even if a key is stored.

    Returns:
        A client that has the key. The notebook never holds it, neither in a cell nor in an output or the history.

    Raises:
        ConfigError: the input is not an authorization key, or the front end cannot ask for input.
        AuthenticationError: the key was refused.
        APIConnectionError: the service could not be reached.
    """
    from gigaclient.contrib.jupyter.key import log_in

    report = log_in(scope=scope, store=store, again=again)
    shell = _shell()
    if shell is None:
        sys.stdout.write(f"{report}\n")
    else:
        from gigaclient.contrib.jupyter.magics import display

        display(report)
    return report.client


def show(stream: Readable) -> Any:
    """Show an answer in the cell while it arrives, like ``%giga``; in a terminal, print it.

    Args:
        stream: an opened stream, from ``giga.stream``, ``giga.chat.stream``, ``talk.stream`` or ``giga.run_stream``. It
            is closed at the end.

    Returns:
        The complete answer: ``stream.completion``.

    Raises:
        KeyboardInterrupt: the kernel was interrupted. The text received so far is shown with a note, and stays
            available as ``stream.text``; the connection is closed.
        GigaClientError: the stream failed; the text is shown likewise.
    """
    from gigaclient.contrib.jupyter.reading import read_in_terminal

    shell = _shell()
    if shell is None:
        ending = read_in_terminal(stream)
    else:
        from gigaclient.contrib.jupyter.magics import in_cell

        ending = in_cell(stream, shell)
    if ending == "interrupted":
        raise KeyboardInterrupt
    return stream.completion


def use(client: GigaChat) -> None:
    """Use ``client`` for ``%giga`` from now on. The dialogue continues. Close the client yourself.

    Raises:
        ConfigError: the client has no conversations.
    """
    from gigaclient.contrib.jupyter.notebook import current

    current().use(client)


def conversation() -> Conversation:
    """Return the dialogue of ``%giga``, which has ``.messages`` and ``.to_json()``. You can continue it from code.

    Raises:
        ConfigError: there is no dialogue yet, and no client can be made.
    """
    from gigaclient.contrib.jupyter.notebook import current

    return current().conversation


def _shell() -> Any:
    """Return the shell that runs this code; None outside IPython."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()
