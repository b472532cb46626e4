"""Emulators of GigaChat and FakeGpt over real HTTPS on 127.0.0.1, for development and tests without a key.

    from gigaclient import GigaChat
    from gigaclient.testing import Fault, GigaChatEmulator

    with GigaChatEmulator() as emulator, GigaChat(**emulator.client_options) as giga:
        print(giga.chat("Count from 1 to 5").text)
        emulator.inject(Fault(status=503, retry_after=1))

Needs the extra ``gigaclient[testing]``. Nothing is imported before the first name is used, because
pytest imports this package for its plugin wherever gigaclient is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigaclient._primitives.lazy import lazy_names

if TYPE_CHECKING:
    from gigaclient.testing.authority import Authority, ClientCertificate
    from gigaclient.testing.fakegpt import FakeGptEmulator
    from gigaclient.testing.fault_server import Answer, Cut, Pause, RawAnswer, RecordedRequest, Reset, Server, interim
    from gigaclient.testing.faults import EventAnswer, Fault
    from gigaclient.testing.gigachat import LEFT_OUT, GigaChatEmulator
    from gigaclient.testing.recordings import Recording, recording

__all__ = [
    "LEFT_OUT",
    "Answer",
    "Authority",
    "ClientCertificate",
    "Cut",
    "EventAnswer",
    "FakeGptEmulator",
    "Fault",
    "GigaChatEmulator",
    "Pause",
    "RawAnswer",
    "RecordedRequest",
    "Recording",
    "Reset",
    "Server",
    "interim",
    "recording",
]

_EXPORTS = {
    "authority": ("Authority", "ClientCertificate"),
    "fakegpt": ("FakeGptEmulator",),
    "faults": ("EventAnswer", "Fault"),
    "gigachat": ("LEFT_OUT", "GigaChatEmulator"),
    "recordings": ("Recording", "recording"),
    "fault_server": ("Answer", "Cut", "Pause", "RawAnswer", "RecordedRequest", "Reset", "Server", "interim"),
}


__getattr__, __dir__ = lazy_names(
    globals(), {name: f".{module}" for module, names in _EXPORTS.items() for name in names}
)
