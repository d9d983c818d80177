"""Find what counts of params in a fingerprint: the options that differ from their defaults, and methods of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import cast

from pydantic import BaseModel


def options_of(section: BaseModel, without: Set[str] = frozenset()) -> dict[str, object]:
    """Return the options of a section that differ from their defaults, as JSON values.

    A new option that is off by default therefore changes no fingerprint. After a change of a default, the transform's
    `version` must be raised.

    Args:
        section: the section.
        without: options to leave out.
    """
    return cast("dict[str, object]", section.model_dump(mode="json", exclude_defaults=True, exclude=set(without)))


def told_by(kind: type) -> frozenset[str]:
    """Return the names in a section's class that do not count as code; none for other classes.

    These are the fields, which count by their values, and the validators, which only refuse values.
    """
    if not issubclass(kind, BaseModel):
        return frozenset()
    found = kind.__pydantic_decorators__
    return frozenset({"model_config", *kind.model_fields, *found.field_validators, *found.model_validators})


def sections_in(value: object) -> Iterator[object]:
    """Return the classes of the sections inside the value of a section's field; their methods may be called."""
    if isinstance(value, BaseModel):
        yield type(value)
        for name in type(value).model_fields:
            yield from sections_in(getattr(value, name))
    elif isinstance(value, Mapping):
        yield from (kind for item in value.values() for kind in sections_in(item))
    elif isinstance(value, list | tuple):
        yield from (kind for item in value for kind in sections_in(item))
