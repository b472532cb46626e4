"""``check-site.py DIRECTORY``: every link on the finished site leads somewhere, and nothing is loaded from elsewhere.

Sphinx checks what it resolves itself; this reads what came out, both languages together, anchors included.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data", "video": "src"}


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.languages: set[str] = set()
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
            if "hreflang" in given:
                self.languages.add(given["hreflang"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "shortcut icon", "preload"):
            self.loaded.append(given["href"])
        elif tag in _LOADED and _LOADED[tag] in given:
            self.loaded.append(given[_LOADED[tag]])


def problems(site: Path) -> list[str]:
    """What is wrong with the site, a line for each."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loaded:
            if urlsplit(address).netloc:
                found.append(f"{name} loads {address} from elsewhere")
            elif not (path.parent / unquote(urlsplit(address).path)).is_file():
                found.append(f"{name} loads {address}, which is not there")
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_relative_to(site) or not target.is_file():
                found.append(f"{name} links to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name} links to {link}, and there is no such place on that page")
        other = "en" if name.parts[0] == "ru" else "ru"
        if other not in page.languages:
            found.append(f"{name} does not lead to the other language")
    for language in ("", "ru"):
        for style in sorted((site / language / "_static").rglob("*.css")):
            for address in re.findall(r"""(?:url\(|@import)\s*["']?(https?:)?//""", style.read_text("utf-8")):
                found.append(f"{style.relative_to(site)} loads something over {address or 'the network'}")
    if "RussianStemmer" not in (site / "ru" / "_static" / "language_data.js").read_text("utf-8"):
        found.append("the Russian search does not know the forms of Russian words")
    return found


def main() -> int:
    """Print what is wrong; 1 when something is."""
    site = Path(sys.argv[1]).resolve()
    found = problems(site)
    for problem in found:
        print(problem, file=sys.stderr)
    count = len(list(site.rglob("*.html")))
    print(f"{count} pages in {sys.argv[1]}, {'every link leads somewhere' if not found else f'{len(found)} problems'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
