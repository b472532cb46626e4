"""Write docs/licenses.md: the licence of gigaclient, of each runtime dependency and of the packages of each extra.

``make licenses`` runs it where all of them are installed. The licences are those of the tested versions, from the
metadata of the installed packages.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/licenses.md"
VENDORED = ROOT / "examples/chat_page/README.md"

_HEAD = """# Licences

gigaclient is under the [MIT licence](../LICENSE). The certificate in `certs/` belongs to its issuer; `certs/README.md`
says where it comes from. This page is written by `make licenses`, from the metadata of the tested versions.

What an installation contains exactly depends on the system. Each release has that list for Linux, in the format
CycloneDX; `make sbom` writes it for a checkout.

"""
# Packages of extras that are too large for the environment of the tests: checked by hand, in that of "make peers".
_INSTALLED_ELSEWHERE = {"langchain-core": "MIT", "langchain-gigachat": "MIT", "llm": "Apache-2.0"}
# For packages whose metadata has a classifier alone.
_BY_CLASSIFIER = {"MIT License": "MIT", "BSD License": "BSD", "Apache Software License": "Apache-2.0"}


def page() -> str:
    """Return the text of the page."""
    config = configparser.ConfigParser(delimiters=("=",))
    config.read(ROOT / "setup.cfg", "utf-8")
    runtime = _names(config["options"]["install_requires"])
    text = _HEAD + "## Always installed\n\n| package | licence |\n| --- | --- |\n"
    brought = {name for package in runtime for name in _requirements(package)} - set(runtime)
    for name in sorted({*runtime, *brought}):
        text += f"| `{name}` | {licence(name)} |\n"
    text += "\n## With an extra\n\n| extra | package | licence |\n| --- | --- | --- |\n"
    for extra, packages in sorted(config["options.extras_require"].items()):
        for name in sorted(_names(packages)):
            text += f"| `{extra}` | `{name}` | {licence(name)} |\n"
    text += "\n## In the example chat page\n\nThese files are in the repository and in the sdist, not in the wheel.\n\n"
    text += "| library | npm package | licence |\n| --- | --- | --- |\n"
    for library, licence_, name in vendored():
        text += f"| {library} | `{name}` | {licence_} |\n"
    return text


def vendored() -> list[tuple[str, str, str]]:
    """Return the library, the licence and the npm package of each row in the README of the example chat page."""
    row = re.compile(r"^\| ([^|]+) \| [\d.]+ \| ([^|]+) \| `([^`]+)` \|$", re.MULTILINE)
    return row.findall(VENDORED.read_text("utf-8"))


def licence(name: str) -> str:
    """Return the licence of an installed package, as an SPDX expression where its metadata has one."""
    if name in _INSTALLED_ELSEWHERE:
        return _INSTALLED_ELSEWHERE[name]
    metadata = importlib.metadata.metadata(name)
    for field in ("License-Expression", "License"):
        value = str(metadata.get(field) or "").strip()
        if value and len(value) < 60 and "\n" not in value:  # some put the whole text there
            return value
    classifiers = (line.rpartition(":: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line)
    found = [_BY_CLASSIFIER.get(classifier, classifier) for classifier in classifiers]
    if not found:
        raise LookupError(f"the metadata of {name} names no licence")
    return " or ".join(found)


def _names(requirements: str) -> list[str]:
    return re.findall(r"^([\w.-]+)\s*[<>=]", requirements.strip(), re.MULTILINE)


def _requirements(package: str) -> set[str]:
    """Return what ``package`` installs without extras, by normalized names."""
    lines = importlib.metadata.requires(package) or ()
    found = (re.match(r"[\w.-]+", line) for line in lines if ";" not in line)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8", newline="\n")
    print(f"{PAGE.relative_to(ROOT)} is written")
    sys.exit(0)
