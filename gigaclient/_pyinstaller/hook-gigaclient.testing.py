"""PyInstaller's hook for ``gigaclient.testing``: the recordings, and the modules that it loads at first use."""

from __future__ import annotations

from gigaclient._pyinstaller import files_in, modules_in

datas = files_in("gigaclient.testing.recordings", ".json", ".sse")
hiddenimports = modules_in("gigaclient.testing")
