"""Where contenders are installed: each in a folder of its own, so that none meets what another one brought along."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
_DISTRIBUTIONS = {
    "official": ["gigachat"],
    "with_openai": ["openai"],
    "with_g4f": ["g4f", "aiohttp", "nest-asyncio2"],
    "with_requests": ["requests"],
    "with_urllib3": ["urllib3"],
    "floor": ["msgspec"],
}
_NOT_PASSED_ON = ("PYTHON", "GIGACHAT_", "SSL_CERT_", "REQUESTS_CA", "CURL_CA", "SSLKEYLOG", "VIRTUAL_ENV", "COVERAGE")


class Environments:
    """How to start a contender's process.

    Args:
        folder: where the contenders' folders are; None to take everything from the Python that runs this.
        home: an empty folder: the home and the working folder of those processes.
    """

    def __init__(self, folder: Path | None, home: Path) -> None:
        self._folder = folder
        self.home = home

    def command(self, code: str, *arguments: str) -> list[str]:
        """Runs ``code``, which may import ``benchmarks``. The checkout comes last, after what is installed."""
        code = f"import sys; sys.path.append({str(CHECKOUT)!r}); {code}"
        if self._folder is None:
            return [sys.executable, "-c", code, *arguments]
        return [str(self._folder / "python" / "bin" / "python"), "-c", code, *arguments]

    def variables(self, contender: str) -> dict[str, str]:
        """The environment, without what would change how a library behaves."""
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
        """MB on disk of the contender and what it depends on, as pip leaves them: byte code too."""
        if self._folder is None:
            raise ValueError("sizes can be told apart only where each contender has a folder of its own")
        files = (path for path in (self._folder / contender).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files) / 1e6

    def install(self, contenders: list[str], wheel: Path, pins: Path) -> None:
        """Fill the folders that are missing or older than what they are made from."""
        assert self._folder is not None
        parser = self._folder / "python"  # with nothing installed
        if not (parser / "pyvenv.cfg").exists():
            venv.create(parser, symlinks=True)
        for contender in contenders:
            target = self._folder / contender
            stamp = self._folder / f".{contender}"
            source = max(pins.stat().st_mtime, wheel.stat().st_mtime if contender == "ours" else 0.0)
            if stamp.exists() and stamp.stat().st_mtime >= source:
                continue
            sys.stderr.write(f"Installing {contender} ...\n")
            wanted = [str(wheel)] if contender == "ours" else _DISTRIBUTIONS[contender]
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
