"""Names of types, and descriptions of classes and fields from docstrings, annotations and metadata."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from gigaclient.schema.docstrings import Docstring, parse_docstring

__all__ = ["class_name", "description_of", "docstring_of", "field_descriptions", "type_name", "unresolved_name"]

_DEFAULT_DOCS = ("An enumeration.", None)


def docstring_of(cls: Any) -> Docstring:
    """Parse the docstring that a class has itself; generated ones count as missing."""
    cls = get_origin(cls) or cls
    text = cls.__dict__.get("__doc__")
    # The docstring that a dataclass generates is its signature.
    if text in _DEFAULT_DOCS or (isinstance(text, str) and text.startswith(f"{cls.__name__}(")):
        text = None
    return parse_docstring(text)


def field_descriptions(cls: Any) -> dict[str, str]:
    """Return the fields in their order with their descriptions, from metadata, annotations or docstrings."""
    cls = get_origin(cls) or cls
    descriptions: dict[str, str] = {}
    documented: dict[str, str] = {}
    for base in reversed(getattr(cls, "__mro__", (cls,))):
        if base is not object:
            documented.update(docstring_of(base).parameters)
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        hints = {}  # msgspec reports the error
    for name, hint in hints.items():
        descriptions[name] = description_of(hint) or documented.get(name, "")
    dataclass_fields = getattr(cls, "__dataclass_fields__", None)
    fields = dataclass_fields.values() if dataclass_fields else getattr(cls, "__attrs_attrs__", ())
    for field in fields:
        description = field.metadata.get("description") if field.metadata else None
        if isinstance(description, str):
            descriptions[field.name] = description
    return descriptions


def description_of(hint: Any) -> str:
    """Return the description in ``Annotated``: a string, or an object's ``description`` or ``documentation``."""
    while getattr(get_origin(hint), "_name", "") in ("Required", "NotRequired", "ReadOnly"):
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return ""
    for extra in get_args(hint)[1:]:
        text = extra if isinstance(extra, str) else None
        text = text or getattr(extra, "description", None) or getattr(extra, "documentation", None)
        if isinstance(text, str):
            return " ".join(text.split())
    return ""


def class_name(cls: Any) -> str:
    """Return the name of a class for a definition: letters, digits and underscores."""
    return re.sub(r"\W+", "_", getattr(cls, "__name__", "") if isinstance(cls, type) else type_name(cls)).strip("_")


def unresolved_name(error: NameError) -> str:
    """Return the reason why an annotation cannot be read."""
    return f"an annotation names {error.name!r}, which its module does not have: define it at the top of the module"


def type_name(type_: Any) -> str:
    """Return the name of a type for messages."""
    if isinstance(type_, type) and get_origin(type_) is None:
        return type_.__name__
    return re.sub(r"\b(?:\w+\.)+(?:<locals>\.)?(?=\w)", "", repr(type_))
