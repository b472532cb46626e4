"""PyInstaller's hook for ``gigaclient``: the certificate, and the modules that a client loads at first use."""

from __future__ import annotations

from gigaclient._pyinstaller import files_in, modules_in

datas = files_in("gigaclient.certs", ".pem")
# A program imports the packages that are left out. The command line, the doctor and the emulators have a hook each.
hiddenimports = modules_in(
    "gigaclient",
    leave_out=tuple(f"gigaclient.{name}" for name in ("_pyinstaller", "cli", "contrib", "doctor", "testing")),
)
