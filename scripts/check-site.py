"""``check-site.py DIRECTORY``: checks the links of the finished site, and that nothing is loaded from other sites.

Sphinx checks the references that it resolves itself. This reads the HTML files of both languages, anchors included.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data", "video": "src"}


class Page(HTMLParser):
    """The anchors of a page, its links, and the files that a browser loads to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.languages: set[str] = set()
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors.update(attributes[name] for name in ("id", "name") if name in attributes)
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
            if "hreflang" in attributes:
                self.languages.add(attributes["hreflang"])
        elif tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "shortcut icon", "preload"):
            self.loaded.append(attributes["href"])
        elif tag in _LOADED and _LOADED[tag] in attributes:
            self.loaded.append(attributes[_LOADED[tag]])


def problems(site: Path) -> list[str]:
    """Return the problems of the site, one line each."""
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
                found.append(f"{name} links to {link}, and that page has no such anchor")
        other = "en" if name.parts[0] == "ru" else "ru"
        if other not in page.languages:
            found.append(f"{name} has no link to the other language")
    for language in ("", "ru"):
        for style in sorted((site / language / "_static").rglob("*.css")):
            for address in re.findall(r"""(?:url\(|@import)\s*["']?(https?:)?//""", style.read_text("utf-8")):
                found.append(f"{style.relative_to(site)} loads something over {address or 'the network'}")
    if "RussianStemmer" not in (site / "ru" / "_static" / "language_data.js").read_text("utf-8"):
        found.append("the Russian search does not know the forms of Russian words")
    return found


def main() -> int:
    """Print the problems; return 1 if there are any."""
    site = Path(sys.argv[1]).resolve()
    found = problems(site)
    for problem in found:
        print(problem, file=sys.stderr)
    count = len(list(site.rglob("*.html")))
    print(f"{count} pages in {sys.argv[1]}, {'no broken links' if not found else f'{len(found)} problems'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
