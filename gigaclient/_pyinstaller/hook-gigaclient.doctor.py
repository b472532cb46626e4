"""PyInstaller's hook for ``gigaclient.doctor``, which loads its modules at first use."""

from __future__ import annotations

from gigaclient._pyinstaller import modules_in

hiddenimports = modules_in("gigaclient.doctor")
