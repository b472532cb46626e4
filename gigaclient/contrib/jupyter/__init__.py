"""gigaclient in notebooks: ``%load_ext gigaclient`` brings ``%giga``, ``%%giga`` and ``%giga_login``.

From code: :func:`login` asks for the key, :func:`show` shows a stream in the cell, :func:`use` says which client the
magics ask, :func:`conversation` is their dialogue. Needs ``gigaclient[jupyter]``. Everything blocks, and nothing of it
is asyncio, so that the loop that runs in every kernel is not in the way.

There is one dialogue for each kernel, so for each notebook.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigaclient.contrib.jupyter.reading import ReadableStream
    from gigaclient.gigachat import GigaChat
    from gigaclient.gigachat.conversation import Conversation

__all__ = ["conversation", "load_ipython_extension", "login", "show", "unload_ipython_extension", "use"]

# The magics by the shell that they are registered with.
_loaded: dict[int, Any] = {}


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext gigaclient``."""
    from gigaclient.contrib.jupyter.magics import Magics

    magics = Magics(ipython)
    magics.register()
    _loaded[id(ipython)] = magics


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext gigaclient``: the magics go, and with them the dialogue and the client."""
    magics = _loaded.pop(id(ipython), None)
    if magics is not None:
        magics.unregister()


def login(*, scope: str | None = None, store: bool = False, again: bool = False) -> GigaChat:
    """Ask for the authorization key without showing it, try it, say what it can do, and have the magics use it.

    A key that ``gigaclient login``, or this with ``store=True``, has stored is taken without asking.

    Args:
        scope: ``GIGACHAT_API_PERS``, ``GIGACHAT_API_B2B`` or ``GIGACHAT_API_CORP``; found out when None.
        store: keep the key in the system's keyring, or where there is none in a file for its owner alone.
        again: ask even though a key is stored.

    Returns:
        A client that has the key. The notebook does not: not in the cell, not in an output, not in the history.

    Raises:
        ConfigError: what was typed is no authorization key, or nobody can be asked here.
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


def show(stream: ReadableStream) -> Any:
    """Show an answer in the cell while it comes, as ``%giga`` does; in a terminal, print it.

    Args:
        stream: what ``giga.stream``, ``giga.chat.stream``, ``talk.stream`` or ``giga.run_stream`` returned. It is
            closed at the end.

    Returns:
        The answer, whole: ``stream.completion``.

    Raises:
        KeyboardInterrupt: the kernel was interrupted. What had come is shown and marked, and stays readable as
            ``stream.text``; the connection is closed.
        GigaClientError: the stream broke; likewise.
    """
    from gigaclient.contrib.jupyter.reading import read_in_terminal

    shell = _shell()
    if shell is None:
        how = read_in_terminal(stream)
    else:
        from gigaclient.contrib.jupyter.magics import in_cell

        how = in_cell(stream, shell)
    if how == "interrupted":
        raise KeyboardInterrupt
    return stream.completion


def use(client: GigaChat) -> None:
    """Have ``%giga`` ask ``client`` from now on; the dialogue goes on with it. Close it yourself.

    Raises:
        ConfigError: it has no conversations.
    """
    from gigaclient.contrib.jupyter.notebook import current

    current().use(client)


def conversation() -> Conversation:
    """The dialogue of ``%giga``: ``.messages``, ``.to_json()``; what is asked here is part of it.

    Raises:
        ConfigError: there is no dialogue yet, and no client can be made.
    """
    from gigaclient.contrib.jupyter.notebook import current

    return current().conversation


def _shell() -> Any:
    """The shell that runs this code; None outside IPython."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()
