"""Unions that msgspec does not decode: of several classes, or of a pydantic model and anything else."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import msgspec

from gigaclient._primitives.decoding import new_decoder
from gigaclient.schema.descriptions import type_name
from gigaclient.schema.validation import ValidationFailed

__all__ = ["UnionOf", "read_member", "with_unions"]


class _HoldsAnything(type):
    # msgspec checks that a value which a hook has made is an instance of the custom type.
    def __instancecheck__(cls, instance: object) -> bool:
        return True


class UnionOf(metaclass=_HoldsAnything):
    """The base of the classes that stand for unions; msgspec takes them for custom types.

    Attributes:
        members: the types of the union, without None.
    """

    members: ClassVar[tuple[Any, ...]] = ()


def with_unions(type_: Any) -> Any:
    """Return ``type_`` with each union that msgspec refuses replaced by a subclass of :class:`UnionOf`."""
    if _is_decodable(type_):
        return type_
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        annotated = with_unions(arguments[0])
        for extra in arguments[1:]:
            annotated = Annotated[annotated, extra]
        return annotated
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if member is not type(None)]
        if (
            len(members) == 1
            and get_origin(members[0]) is Annotated
            and type(None) in get_args(get_args(members[0])[0])
        ):
            return with_unions(members[0])  # Python 3.10 puts a parameter with the default None into Optional once more
        inner = with_unions(members[0]) if len(members) == 1 else _union_of(tuple(members))
        return inner if len(members) == len(arguments) else Union[inner, None]  # noqa: UP007 - inner is no type for |
    if not arguments or origin is Literal or not _is_generic(origin):
        return type_
    return origin[tuple(with_unions(argument) for argument in arguments)]


def _is_decodable(type_: Any) -> bool:
    try:
        new_decoder(type_)
    except TypeError:
        return False
    except Exception:  # a name that is not defined, for example: reported by the caller
        return True
    return True


def _is_generic(origin: Any) -> bool:
    return isinstance(origin, type) and hasattr(origin, "__class_getitem__") and origin is not Callable


@functools.lru_cache(maxsize=256)
def _union_of(members: tuple[Any, ...]) -> Any:
    return _HoldsAnything(" | ".join(map(type_name, members)), (UnionOf,), {"members": members})


def read_member(
    union: type[UnionOf],
    value: Any,
    reader_of: Callable[[Any], Callable[[bytes], Any]],
    fields_of: Callable[[Any], Any],
) -> Any:
    """Return ``value`` as the member of the union that fits it best: the one that knows most of its fields.

    Args:
        union: the union.
        value: decoded JSON.
        reader_of: returns the decoder of a type.
        fields_of: returns the names of a type's fields.

    Raises:
        ValidationFailed: it fits no member.
    """
    data = msgspec.json.encode(value)
    fitting: list[tuple[int, Any]] = []
    reasons: list[str] = []
    for member in union.members:
        try:
            made = reader_of(member)(data)
        except ValidationFailed as error:
            reasons.append(f"{type_name(member)}: {str(error).partition('the answer does not fit: ')[2] or error}")
        else:
            known = len(value.keys() & set(fields_of(member))) if isinstance(value, Mapping) else 0
            fitting.append((known, made))
    if not fitting:
        raise ValidationFailed(f"it fits none of {_listed(union.members)} ({'; '.join(reasons)})")
    return max(fitting, key=operator.itemgetter(0))[1]


def _listed(members: Sequence[Any]) -> str:
    return ", ".join(map(type_name, members))
