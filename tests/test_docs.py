"""The documentation is consistent: both languages match, every page is linked, every setting is described.

tests/test_readme.py runs the snippets. ``make docs`` checks that the site and its reference can be built and that each
of its links has a target.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import gigaclient
from gigaclient import FakeGpt, GigaChat
from gigaclient._core.settings import Reader
from gigaclient.fakegpt.settings import read_settings as read_fakegpt_settings
from gigaclient.gigachat.settings import read_settings as read_gigachat_settings

CHECKOUT = Path(__file__).resolve().parent.parent
DOCS = CHECKOUT / "docs"
LANGUAGES = ("en", "ru")
NAMES = sorted({page.stem for language in LANGUAGES for page in (DOCS / language).glob("*.md")})
PAIRS = [(DOCS / "en" / f"{name}.md", DOCS / "ru" / f"{name}.md") for name in NAMES]
PAIRS.append((CHECKOUT / "README.md", CHECKOUT / "README.ru.md"))
PAGES = [
    *(page for pair in PAIRS for page in pair),
    *sorted(DOCS.glob("*.md")),
    *sorted((DOCS / "adr").glob("*.md")),
    *(CHECKOUT / name for name in ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((CHECKOUT / "examples").rglob("*.md")),
]
ONLY_AS_ARGUMENTS = {"en": "Only as arguments", "ru": "Только аргументами"}


@dataclass
class Page:
    """A page of Markdown, parsed as far as the tests need it."""

    headings: list[tuple[int, str]] = field(default_factory=list)
    blocks: list[tuple[str, str]] = field(default_factory=list)
    tables: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    lists: int = 0

    @classmethod
    def of(cls, path: Path) -> Page:
        assert path.is_file(), f"{path.relative_to(CHECKOUT)} is missing"
        page = cls()
        fence = language = ""
        code: list[str] = []
        in_table = False
        for line in path.read_text("utf-8").splitlines():
            if fence:
                if line.strip() == fence:
                    page.blocks.append((language, "\n".join(code)))
                    fence = ""
                else:
                    code.append(line)
                continue
            opening = re.match(r"^\s*(`{3,}|~{3,})\s*(\S*)", line)
            if opening:
                fence, language, code = opening[1], opening[2], []
                continue
            heading = re.match(r"^(#+) (.+)$", line)
            if heading:
                page.headings.append((len(heading[1]), heading[2]))
            if line.startswith("|"):
                if not in_table:
                    page.tables.append((page.headings[-1][1] if page.headings else "", []))
                page.tables[-1][1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]])
            in_table = line.startswith("|")
            page.lists += bool(re.match(r"^\s*([-*]|\d+\.) ", line))
            plain = re.sub(r"`[^`]*`", "`code`", line)
            page.images += re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", plain)
            page.links += re.findall(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)", plain)
        assert not fence, f"{path.name}: the last block does not end"
        return page

    @property
    def anchors(self) -> set[str]:
        """The anchors that GitHub and the site make of the headings."""
        slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for _, heading in self.headings]
        return {
            slug if slugs.index(slug) == at else f"{slug}-{slugs[:at].count(slug)}" for at, slug in enumerate(slugs)
        }


def _shown(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


# -- two languages -----------------------------------------------------------------------------------------------------


both = pytest.mark.parametrize(("english", "russian"), PAIRS, ids=[_shown(english) for english, _ in PAIRS])


@both
def test_each_page_is_there_in_both(english: Path, russian: Path) -> None:
    assert (english.is_file(), russian.is_file()) == (True, True)


@both
def test_both_have_the_same_headings_lists_and_tables(english: Path, russian: Path) -> None:
    one, other = Page.of(english), Page.of(russian)
    assert [level for level, _ in one.headings] == [level for level, _ in other.headings]
    assert one.lists == other.lists
    assert [_named(rows) for _, rows in one.tables] == [_named(rows) for _, rows in other.tables]


@both
def test_both_have_the_same_snippets_but_for_words(english: Path, russian: Path) -> None:
    one, other = Page.of(english), Page.of(russian)
    assert [language for language, _ in one.blocks] == [language for language, _ in other.blocks]
    for (language, code), (_, translated) in zip(one.blocks, other.blocks, strict=True):
        assert _without_words(language, code) == _without_words(language, translated)


@both
def test_both_show_the_same_pictures_and_have_the_same_links(english: Path, russian: Path) -> None:
    one, other = Page.of(english), Page.of(russian)
    assert one.images == other.images
    assert _targets(one) == _targets(other)


@both
def test_the_russian_page_is_in_russian_and_the_english_one_is_not(english: Path, russian: Path) -> None:
    letters = re.compile(r"[а-яё]", re.IGNORECASE)
    prose = [
        re.sub(r"(?s)^```.*?^```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.M) for page in (english, russian)
    ]
    assert len(letters.findall(prose[0])) < 0.02 * len(prose[0])
    assert len(letters.findall(prose[1])) > 0.3 * len(prose[1])


def _named(rows: list[list[str]]) -> list[tuple[int, list[str]]]:
    """Return the number of cells of each row, and the code in its first cell with placeholders replaced."""
    return [
        (len(row), [re.sub(r"\b[A-ZА-ЯЁ]+\b", "NAME", code) for code in re.findall(r"`([^`]+)`", row[0])])
        for row in rows
    ]


def _targets(page: Page) -> list[str]:
    """Return the targets of the links, without language, and without anchors, which are translated headings."""
    paths = [link.partition("#")[0] for link in page.links]
    plain = [path.replace("README.ru.md", "README.md").replace("docs/ru/", "docs/en/") for path in paths if path]
    return sorted({"" if path.endswith("README.md") else path for path in plain} - {""})


def _without_words(language: str, code: str) -> Any:
    if language == "python":  # only names, operators and numbers: strings and comments are translated
        kept = (tokenize.NAME, tokenize.OP, tokenize.NUMBER)
        tokens = tokenize.generate_tokens(io.StringIO(code).readline)
        return [token.string for token in tokens if token.type in kept]
    if language in ("shell", "ini", "toml", "yaml"):
        plain = [re.sub(r"""(^|\s+)#.*|"[^"]*"|'[^']*'|<[^>]*>""", "", line) for line in code.splitlines()]
        words = [(index, word) for line in plain for index, word in enumerate(line.split())]
        # The command, and all that is not translated: options, paths, variables, pipes.
        return [word for index, word in words if index == 0 or re.search(r"^[-|>$]|[=/_]|\w\.\w", word)]
    return len(code.splitlines())


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=_shown)
def test_every_link_leads_to_something_in_the_repository(path: Path) -> None:
    page = Page.of(path)
    for link in [*page.links, *page.images]:
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / unquote(file)).resolve() if file else path
        assert target.exists(), f"{_shown(path)} leads to {link}, which is not there"
        if anchor and target.suffix == ".md":
            assert unquote(anchor) in Page.of(target).anchors, (
                f"{_shown(path)} leads to {link}, and there is no such heading"
            )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_on_the_index(language: str) -> None:
    listed = {link for link in Page.of(DOCS / language / "index.md").links if "/" not in link}
    assert listed == {f"{name}.md" for name in NAMES} - {"index.md"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_begins_with_a_title_and_soon_shows_something(language: str) -> None:
    for name in NAMES:
        text = (DOCS / language / f"{name}.md").read_text("utf-8")
        assert re.match(r"# \S", text), f"{language}/{name}.md"
        assert "```" in "\n".join(text.splitlines()[:20]), f"{language}/{name}.md begins with too many words"


def test_every_decision_is_listed_with_its_number_and_has_the_four_parts() -> None:
    folder = DOCS / "adr"
    pages = sorted(page.name for page in folder.glob("0*.md"))
    assert [link for link in Page.of(folder / "index.md").links if link.startswith("0")] == pages
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    for number, name in enumerate(pages, 1):
        title, *parts = (text for _, text in Page.of(folder / name).headings)
        assert title.startswith(f"{number}. ")
        assert parts == ["Context", "Decision", "Consequences", "What would change it"], name


def test_the_readmes_lead_to_the_documentation() -> None:
    for readme, language in (("README.md", "en"), ("README.ru.md", "ru")):
        assert f"docs/{language}/index.md" in Page.of(CHECKOUT / readme).links


# -- the settings ------------------------------------------------------------------------------------------------------


def _rows(language: str, *, of_fakegpt: bool) -> dict[str, tuple[str, str]]:
    """Return the settings of the configuration page, each with its default and the heading of its table."""
    found = {}
    for heading, rows in Page.of(DOCS / language / "configuration.md").tables:
        if (heading == "FakeGpt") is of_fakegpt:
            for name, default, *_ in rows[2:]:
                assert name not in found, f"{name} stands there twice"
                found[name.strip("`")] = default, heading
    return found


def _parameters(client: Any) -> set[str]:
    return set(inspect.signature(client).parameters)


def _cell(value: Any) -> str:
    """Return a default as the page writes it."""
    return "–" if value is None else f"`{value}`"


def _default_of(settings: Any, name: str, trust: str) -> str:
    if name == "timeout":
        return f"`({settings.connect_timeout:g}, {settings.read_timeout:g})`"
    if name in ("trust", "verify_ssl_certs"):
        return trust if name == "trust" else "`True`"
    if name == "headers":  # the page shows none, because the argument is merged into the defaults
        return "–"
    return (
        _cell(getattr(settings, name, None) or None) if name.startswith("on_") else _cell(getattr(settings, name, None))
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_setting_of_gigachat_is_on_the_page_with_its_default(language: str) -> None:
    rows = _rows(language, of_fakegpt=False)
    assert set(rows) == _parameters(GigaChat)
    settings = read_gigachat_settings({})
    assert {name: default for name, (default, _) in rows.items()} == {
        name: _default_of(settings, name, '`"pinned"`') for name in rows
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_setting_of_fakegpt_is_on_the_page_with_its_default(language: str) -> None:
    own, common = _rows(language, of_fakegpt=True), _rows(language, of_fakegpt=False)
    settings = read_fakegpt_settings({})
    assert set(own) <= _parameters(FakeGpt)
    for name in _parameters(FakeGpt):
        default, _ = own.get(name) or common[name]
        assert default == _default_of(settings, name, '`"system"`'), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_which_settings_the_environment_does_not_have(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_environment = set()
    read = Reader.__call__

    def spying(reader: Reader, name: str, parse: Any, default: Any) -> Any:
        from_environment.add(name)
        return read(reader, name, parse, default)

    monkeypatch.setattr(Reader, "__call__", spying)
    read_gigachat_settings({})
    apart = {
        name
        for name, (_, heading) in _rows(language, of_fakegpt=False).items()
        if heading == ONLY_AS_ARGUMENTS[language]
    }
    assert apart == _parameters(GigaChat) - from_environment


# -- the reference -----------------------------------------------------------------------------------------------------

CONTRIB = ("contrib.event_stream", "contrib.flask", "contrib.django", "contrib.jupyter")
_DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)", re.MULTILINE)


def _described() -> set[str]:
    """Return every name that the reference documents."""
    found = set()
    for page in sorted((DOCS / "reference").glob("*.rst")):
        text = page.read_text("utf-8")
        found |= {name for _, name in _DIRECTIVE.findall(text)}
        found |= set(re.findall(r"^\.\. data:: ([\w.]+)", text, re.MULTILINE))
        for module in re.findall(r"^\.\. automodule:: ([\w.]+)\n(?:   .*\n)*?   :members:", text, re.MULTILINE):
            found |= {f"{module}.{name}" for name in _public(module)}
    return found


def _public(module: str) -> set[str]:
    """Return ``__all__`` without importing the module, which may need optional packages."""
    path = CHECKOUT.joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


@pytest.mark.parametrize("module", ["", "errors", "types", "context", "testing", "doctor", *CONTRIB])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    described = {name.rpartition(".")[2] for name in _described()}
    public = _public(f"gigaclient.{module}".rstrip(".")) - {"__version__"}
    assert sorted(public - described) == []


@pytest.mark.parametrize("client", [GigaChat, FakeGpt])
def test_every_method_of_a_client_is_in_the_reference(client: type[Any]) -> None:
    described = _described()
    public = {f"gigaclient.{client.__name__}.{name}" for name in dir(client) if not name.startswith("_")}
    assert sorted(public - described) == []


def test_every_name_in_the_reference_can_be_imported() -> None:
    for name in sorted(name for name in _described() if not name.startswith("gigaclient.contrib")):
        module, thing = name, ""
        value: Any = None
        while True:
            try:
                value = importlib.import_module(module)
                break
            except ModuleNotFoundError:
                module, _, last = module.rpartition(".")
                thing = f"{last}.{thing}".rstrip(".")
                assert module, f"there is no {name}"
        for part in filter(None, thing.split(".")):
            value = getattr(value, part)
        assert value is not gigaclient or name == "gigaclient"


def test_every_page_of_the_reference_is_found_from_its_first() -> None:
    pages = {page.stem: page.read_text("utf-8") for page in (DOCS / "reference").glob("*.rst")}
    reached, waiting = set(), ["index"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for tree in re.findall(r"^\.\. toctree::\n(?:   :.*\n)*\n((?:   \S+\n)+)", pages[name] + "\n", re.MULTILINE):
            waiting += [entry for entry in tree.split() if entry in pages and entry not in reached]
    assert reached == set(pages)
