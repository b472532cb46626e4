"""Build the documentation site with Sphinx: ``make docs`` runs ``scripts/build-docs``.

There are two runs over one folder: English, with the reference and the project's pages, and Russian (``-t ru``). So
each language has its own search and index. The site has the folders of the sources, so a relative link that works in
the repository works on the site too, also between the languages.

The pages are plain CommonMark. This file adds the sidebar, from the lists of links on each language's ``index.md``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

DOCS = Path(__file__).resolve().parent
CHECKOUT = DOCS.parent
sys.path.insert(0, str(CHECKOUT))

RUSSIAN: bool = tags.has("ru")  # type: ignore[name-defined]  # noqa: F821  # Sphinx runs this file with "tags" in it
HERE = "ru" if RUSSIAN else ""
"""The folder of this run's pages, on the site and under docs/."""

_log = logging.getLogger(__name__)

# -- sources -----------------------------------------------------------------------------------------------------

version_of: dict[str, str] = {}
exec((CHECKOUT / "gigaclient" / "version.py").read_text("utf-8"), version_of)

project = "gigaclient"
author = "gigaclient contributors"
version = release = version_of["__version__"]
language = "ru" if RUSSIAN else "en"
root_doc = "index" if RUSSIAN else "en/index"
exclude_patterns = ["_*", "ru", "images"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
templates_path = ["_templates"]
# In a copy, because Sphinx writes its compiled files next to the sources.
_words = tempfile.TemporaryDirectory(prefix="gigaclient-docs-")
shutil.copytree(DOCS / "_locale", Path(_words.name) / "locale")
locale_dirs = [str(Path(_words.name) / "locale")]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_heading_anchors = 3

# -- the reference -----------------------------------------------------------------------------------------------------

# Modules that need optional packages are documented even if those are not installed.
_OPTIONAL = (
    *("IPython", "asgiref", "click", "cryptography", "django", "filelock", "flask", "h11", "keyring", "prompt_toolkit"),
    *("gigachat", "langchain_core", "langchain_gigachat", "llm", "opentelemetry", "pydantic", "pytest", "rich"),
    *("traitlets", "trustme", "werkzeug", "yaml"),
)
autodoc_mock_imports = [name for name in _OPTIONAL if importlib.util.find_spec(name) is None]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Sections of our docstrings that Google's convention does not have.
napoleon_custom_sections = [
    ("Instead of the answer", "params_style"),
    ("How the answer is written", "params_style"),
    ("Within an event stream", "params_style"),
]
add_module_names = False
# Nothing is fetched during the build, so names of other packages cannot be resolved.
nitpicky = True
suppress_warnings = ["ref.python"]  # a short name may have two targets; the first one is right
# The same holds for type variables and private classes.
nitpick_ignore_regex = [
    ("py:.*", r"(?!gigaclient\b).*"),
    ("py:class", r"gigaclient\..*\.(_\w+|\w*T)"),
    ("py:class", r"gigaclient\.gigachat\.(resource\.APIResource|conversation\.Client)"),
    ("py:class", r"gigaclient\.transport\.\w+"),
    ("py:class", r"gigaclient\.testing\.(http_messages\.HeaderList|routing\.RoutedRequest|emulator\.E)"),
    ("py:class", r"gigaclient\.contrib\.stream_reader\.Readable"),
]

# -- appearance ------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"gigaclient {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = [] if RUSSIAN else ["_root"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = not RUSSIAN
html_domain_indices = False
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/elsewhere.html",
        "sidebar/scroll-end.html",
    ]
}
# Most blocks that are not Python are plain text.
highlight_language = "text"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark"
# A prompt, and what a session printed, are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _repository() -> str:
    """Return the address for "Edit this page", or "" if the build does not know it.

    GitHub's workflows and Read the Docs have it in the environment. Elsewhere the page shows the path of its source.
    """
    name = os.environ.get("GITHUB_REPOSITORY", "")
    address = f"https://github.com/{name}" if name else os.environ.get("READTHEDOCS_GIT_CLONE_URL", "")
    return address.removesuffix(".git").rstrip("/") if address.startswith("https://") else ""


# -- the sidebar ------------------------------------------------------------------------------------------

_ENTRY = re.compile(r"^- \[(?P<text>[^]]+)\]\((?P<target>[^)#:]+\.(?:md|rst))\)")


def _entries(index: str) -> dict[str, list[tuple[str, str]]]:
    """Return the links of the index to existing pages, as text and path, by heading."""
    found: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    for line in index.splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
        entry = _ENTRY.match(line)
        if entry:
            found.setdefault(heading, []).append((entry["text"], entry["target"]))
    return found


def _index() -> str:
    return (DOCS / language / "index.md").read_text("utf-8")


def _add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add a ``toctree`` for each heading of an index that lists pages, since Sphinx needs each page in one."""
    if docname not in (root_doc, "adr/index"):
        return
    folder = DOCS / language if docname == root_doc else DOCS / "adr"
    for heading, entries in _entries(source[0]).items():
        there = [target for _, target in entries if (folder / target).is_file()]
        inside = [target for target in there if not (RUSSIAN and target.startswith("../"))]
        if inside:
            pages = "\n".join(os.path.splitext(target)[0] for target in inside)
            caption = f":caption: {heading}\n" if heading else ""
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n{caption}\n{pages}\n```\n"


# -- links -------------------------------------------------------------------------------------------------------------


def _lead_on(app: Sphinx, doctree: nodes.document) -> None:
    """Resolve links to pages of the other run, and to files of the repository that are not on the site.

    A page that the index promises and that is not written yet is no link; tests/test_docs.py says that it is missing.
    """
    docname = app.env.docname
    promised = {target for entries in _entries(_index()).values() for _, target in entries}
    page = DOCS / HERE / docname
    for node in list(doctree.findall(addnodes.pending_xref)) + list(doctree.findall(addnodes.download_reference)):
        if node.get("reftype") != "myst" or node.get("reftarget") in app.env.found_docs:
            continue
        target = str(node["reftarget"])
        anchor = node.get("reftargetid")
        is_page = node.get("refdomain") == "doc"
        if is_page:  # relative to the source folder of this run, without its suffix
            path = next(iter((DOCS / HERE).joinpath(target).resolve().parent.glob(Path(target).name + ".*")), None)
        else:
            path = (page.parent / target.partition("#")[0]).resolve()
        if not is_page and target.partition("#")[0] in promised and path is not None and not path.exists():
            node.replace_self(list(node.children))
            continue
        if path is None or not path.exists() or target.startswith("#"):
            continue  # Sphinx reports it
        if is_page and path.is_relative_to(DOCS):
            address = os.path.relpath(path.with_suffix(".html"), page.parent).replace(os.sep, "/")
            link = nodes.reference("", "", internal=True, refuri=f"{address}#{anchor}" if anchor else address)
            link += node.children
            node.replace_self(link)
        elif is_page or path.is_dir() or not path.is_relative_to(DOCS.parent):
            node.replace_self(_in_the_repository(node, path))


def _in_the_repository(node: nodes.Element, path: Path) -> nodes.Node:
    """Return the text of the link, with the path if the text does not name it."""
    place = path.relative_to(CHECKOUT).as_posix() + ("/" if path.is_dir() else "")
    text = node.astext()
    shown = nodes.inline("", "")
    if text.rstrip("/") == place.rstrip("/"):
        shown += nodes.literal(place, place)
    else:
        shown += [*node.children, nodes.Text(" ("), nodes.literal(place, place), nodes.Text(")")]
    return shown


# -- switching the language ------------------------------------------------------------------------------------


def _other_language(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """Return the same page in the other language, or its first page if there is no counterpart."""
    here = f"{HERE}/{pagename}" if HERE else pagename
    folder, _, name = here.rpartition("/")
    there = "en" if RUSSIAN else "ru"
    if pagename == "search":
        other = "search" if RUSSIAN else "ru/search"
    elif folder == language and any((DOCS / there).glob(f"{name}.md")):
        other = f"{there}/{name}"
    else:
        other = f"{there}/index"
    context["other_language"] = os.path.relpath(f"{other}.html", folder or ".").replace(os.sep, "/")
    # The reference and the pages of the project exist in English only; the Russian sidebar links to them.
    outside = []
    if RUSSIAN:
        for entries in _entries(_index()).values():
            outside += [(text, target) for text, target in entries if target.startswith("../")]
    source = app.env.doc2path(pagename, base=False) if pagename in app.env.found_docs else ""
    context["source_path"] = "CHANGELOG.md" if pagename == "changelog" else f"docs/{HERE}/{source}".replace("//", "/")
    context["edit_address"] = f"{_repository()}/edit/main/{context['source_path']}" if _repository() else ""
    context["has_source"] = bool(source)
    depth = "../" * pagename.count("/")
    context["elsewhere"] = [(text, depth + os.path.splitext(target)[0] + ".html") for text, target in outside]


# -- docstrings --------------------------------------------------------------------------------------------------------


_AND = ",\N{ZERO WIDTH SPACE}"


def _as_markup(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Turn a docstring, written for ``help()``, into markup: an indented example becomes a block of code."""
    if what in ("attribute", "property") and lines and lines[0]:
        lines[:0] = ["..", ""]  # or napoleon takes the text before a colon in the first line for a type
    for place, line in enumerate(lines):
        # Sphinx takes the first of several names before a colon for a type, unless they are one word.
        names = re.match(r" {4}\w+(?:, \w+)+:", line)
        if names is not None:
            line = lines[place] = names[0].replace(", ", _AND) + line[names.end() :]
        if line.startswith("Raises, "):
            lines[place] = "Raises:"
        elif line.startswith("Within an event stream ("):
            lines[place : place + 1] = [
                line[len("Within an event stream (") : -2].capitalize() + ".",
                "",
                "Within an event stream:",
            ]
        if line.startswith("    As :"):  # under "Raises:", each entry begins with a class
            lines[place] = line.replace("    As :", "    GigaClientError: as :", 1)
        if what == "module" and place and line.startswith("    ") and not lines[place - 1]:
            before = next((text for text in reversed(lines[:place]) if text), "")
            if not before.startswith(" ") and not before.endswith("::"):
                lines[place - 1 : place - 1] = ["", "::"]
                return _as_markup(app, what, name, thing, options, lines)
    return None


def _with_defaults(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Show what the factory of a default makes, such as ``{}``, in place of ``<factory>``."""
    if signature is None or "<factory>" not in signature or not isinstance(thing, type):
        return None
    fields: Any = msgspec.structs.fields(thing) if issubclass(thing, msgspec.Struct) else dataclasses.fields(thing)
    none = (dataclasses.MISSING, msgspec.NODEFAULT)
    made = iter([repr(field.default_factory()) for field in fields if field.default_factory not in none])
    return re.sub("<factory>", lambda found: next(made), signature), returns


def _accessible(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """Correct what Sphinx's markup lacks for a screen reader and the keyboard; tests/browser runs axe."""
    for name in ("furo_navigation_tree", "toctree"):
        if isinstance(context.get(name), str):
            context[name] = context[name].replace('role="heading"', 'role="heading" aria-level="2"')
    if isinstance(context.get("body"), str):
        body = re.sub(rf"(</strong><strong>)?,(</strong><strong>)?{_AND[1]}", ", ", context["body"]).replace(
            _AND[1], ""
        )
        # A wide block or table is scrolled with the keyboard.
        body = body.replace("<pre>", '<pre tabindex="0">')
        body = body.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')
        # Signatures of several lines are lists of definitions without terms.
        context["body"] = re.sub(
            r"<dl>\s*((?:<dd>(?:(?!</?d[dl]>).)*</dd>\s*)+)</dl>",
            lambda found: found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>"),
            body,
            flags=re.DOTALL,
        )


def _search_numbers(app: Sphinx, error: Exception | None) -> None:
    """Let the search find numbers: people type 429 and 401, and Sphinx's script leaves out a word of digits."""
    if error is not None:
        return
    script = Path(app.outdir) / "_static" / "searchtools.js"
    text = script.read_text("utf-8")
    skipped = r" || queryTerm.match(/^\d+$/)"
    flat = re.sub(r"\s*\|\|\s*queryTerm\.match\(/\^\\d\+\$/\)", "", text)
    if flat == text:
        raise RuntimeError(f"{script} does not have {skipped!r}: see whether the search finds 429, and adapt this")
    script.write_text(flat, "utf-8")


def _where_it_is_described(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Find a method of a base class of GigaChat under GigaChat, and a function under the name that people import."""
    mixin = r"^gigaclient\.gigachat\.(?:resources\.)?\w+\.\w+Endpoints\."
    target = re.sub(mixin, "gigaclient.GigaChat.", node["reftarget"])
    target = {"gigaclient.functions.function": "gigaclient.function"}.get(target, target)
    if node.get("refdomain") != "py" or target == node["reftarget"]:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, content)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _as_markup, priority=400)  # before napoleon
    app.connect("missing-reference", _where_it_is_described)
    app.connect("source-read", _add_contents)
    app.connect("doctree-read", _lead_on)
    app.connect("html-page-context", _other_language)
    app.connect("autodoc-process-signature", _with_defaults)
    app.connect("build-finished", _search_numbers)
    app.connect("html-page-context", _accessible, priority=900)  # after the theme
