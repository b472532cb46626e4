"""Checks that an installed gigaclient is complete. Run it in an empty folder with the environment's Python.

Arguments: the type of install (``wheel``, ``sdist`` or ``editable``) and the checkout it was made from.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import ssl
import subprocess
import sys
from pathlib import Path

SHA256_OF_ROOT = "d26d2d0231b7c39f92cc738512ba54103519e4405d68b5bd703e9788ca8ecf31"


def main(type_: str, checkout: Path) -> None:
    """Import the package and find its data files; raise ``SystemExit`` with the first one that is missing."""
    import gigaclient

    home = Path(gigaclient.__file__).resolve().parent
    if (home == checkout.resolve() / "gigaclient") is not (type_ == "editable"):
        raise SystemExit(f"{type_}: gigaclient was imported from {home}")

    installed = importlib.metadata.version("gigaclient")
    if installed != gigaclient.__version__:
        raise SystemExit(f"{type_}: the metadata says {installed}, the package {gigaclient.__version__}")

    package = importlib.resources.files("gigaclient")
    if not package.joinpath("py.typed").is_file():
        raise SystemExit(f"{type_}: py.typed is missing")
    if not any(package.joinpath("testing", "recordings").iterdir()):
        raise SystemExit(f"{type_}: the recordings of gigaclient.testing are missing")

    pem = importlib.resources.files("gigaclient.certs").joinpath("russian_trusted_root_ca.pem").read_text("ascii")
    sha256 = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    if sha256 != SHA256_OF_ROOT:
        raise SystemExit(f"{type_}: the shipped certificate has SHA-256 {sha256}")

    # A client loads the certificate in another way, which needs more than the runtime dependencies.
    with gigaclient.GigaChat(credentials="Z2lnYWNsaWVudDp0ZXN0"):
        pass

    command = Path(sys.executable).with_name("gigaclient")
    subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    print(
        f"  {type_}: gigaclient {installed} imports, has its certificate ({sha256[:16]}...), its types and its command"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
