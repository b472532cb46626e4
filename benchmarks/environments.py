"""The installations of the contenders: each in its own folder, so that none loads another one's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
NOTEBOOK = "ours_in_notebook"
"""Ours with what a notebook's output needs; not counted as its size."""
_DISTRIBUTIONS = {
    NOTEBOOK: ["markdown-it-py"],
    "official": ["gigachat"],
    "with_openai": ["openai"],
    "with_g4f": ["g4f", "aiohttp", "nest-asyncio2"],
    "with_requests": ["requests"],
    "with_urllib3": ["urllib3"],
    "floor": ["msgspec"],
}
_NOT_PASSED_ON = ("PYTHON", "GIGACHAT_", "SSL_CERT_", "REQUESTS_CA", "CURL_CA", "SSLKEYLOG", "VIRTUAL_ENV", "COVERAGE")


class Environments:
    """Starts the processes of contenders.

    Args:
        folder: the contenders' folders; None to import everything from the running Python.
        home: an empty folder: the home and the working folder of those processes.
    """

    def __init__(self, folder: Path | None, home: Path) -> None:
        self._folder = folder
        self.home = home

    def command(self, code: str, *arguments: str) -> list[str]:
        """Return the command that runs ``code``, which may import ``benchmarks``. The checkout is last on its path."""
        code = f"import sys; sys.path.append({str(CHECKOUT)!r}); {code}"
        if self._folder is None:
            return [sys.executable, "-c", code, *arguments]
        return [str(self._folder / "python" / "bin" / "python"), "-c", code, *arguments]

    def variables(self, contender: str) -> dict[str, str]:
        """Return the environment, without variables that would change how a library behaves."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(_NOT_PASSED_ON) and not name.upper().endswith("_PROXY")
        }
        kept.update(HOME=str(self.home), XDG_CONFIG_HOME=str(self.home), PYTHONHASHSEED="0")
        if self._folder is not None:
            kept["PYTHONPATH"] = str(self._folder / contender)
        return kept

    def size(self, contender: str) -> float:
        """Return the MB on disk of the contender and its dependencies as pip installs them, byte code included."""
        if self._folder is None:
            raise ValueError("sizes are known only if each contender has its own folder")
        files = (path for path in (self._folder / contender).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) / 1e6

    def install(self, contenders: list[str], wheel: Path, pins: Path) -> None:
        """Install the folders that are missing or older than their sources."""
        assert self._folder is not None
        parser = self._folder / "python"  # with nothing installed
        if not (parser / "pyvenv.cfg").exists():
            venv.create(parser, symlinks=True)
        for contender in contenders:
            target = self._folder / contender
            stamp = self._folder / f".{contender}"
            is_ours = contender in ("ours", NOTEBOOK)
            source = max(pins.stat().st_mtime, wheel.stat().st_mtime if is_ours else 0.0)
            if stamp.exists() and stamp.stat().st_mtime >= source:
                continue
            sys.stderr.write(f"Installing {contender} ...\n")
            wanted = [*([str(wheel)] if is_ours else []), *_DISTRIBUTIONS.get(contender, ())]
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
                    *("--target", str(target), "-c", str(pins), *wanted),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            stamp.touch()
