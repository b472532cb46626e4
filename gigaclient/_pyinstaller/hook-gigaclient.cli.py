"""PyInstaller's hook for ``gigaclient.cli``, which loads its modules at first use."""

from __future__ import annotations

from gigaclient._pyinstaller import modules_in

hiddenimports = modules_in("gigaclient.cli")
