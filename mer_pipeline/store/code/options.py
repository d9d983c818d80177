"""What counts of params: the options that do not stand at their defaults, and the methods of their classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import cast

from pydantic import BaseModel


def options_of(section: BaseModel, without: Set[str] = frozenset()) -> dict[str, object]:
    """What a section says that does not stand at its default, as JSON would hold it.

    So a new option that is off changes no key. Whoever changes a default raises `version` of the transform.
    """
    return cast("dict[str, object]", section.model_dump(mode="json", exclude_defaults=True, exclude=set(without)))


def told_by(kind: type) -> frozenset[str]:
    """What of a section's class is no code that makes values: its fields, which count by what they are set to, and its
    validators, which refuse."""
    if not issubclass(kind, BaseModel):
        return frozenset()
    found = kind.__pydantic_decorators__
    return frozenset({"model_config", *kind.model_fields, *found.field_validators, *found.model_validators})


def sections_in(value: object) -> Iterator[object]:
    """The classes of sections within a section's field, of which methods may be called."""
    if isinstance(value, BaseModel):
        yield type(value)
        for name in type(value).model_fields:
            yield from sections_in(getattr(value, name))
    elif isinstance(value, Mapping):
        yield from (kind for item in value.values() for kind in sections_in(item))
    elif isinstance(value, list | tuple):
        yield from (kind for item in value for kind in sections_in(item))
