"""A head as params describe it: what is handed to whoever trains or loads it, so that nobody else reads its entry.

It is made by `make.py`. Here is nothing that knows of other heads, so what a trained head is remembered by (its code
and its key) stays as it was when another head is added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import ConfigDict

from mer_pipeline.config.section import Section
from mer_pipeline.config.train_params import CrossValidationParams, HeadName, SearchParams, Value
from mer_pipeline.heads.base import Head

Space = dict[str, tuple[Value, ...]]


@dataclass(frozen=True)
class HeadSpec:
    """A head's name in params and its kind, its class, and what it reads of params."""

    name: HeadName
    kind: str
    head: type[Head]
    params: Section

    @property
    def parts(self) -> tuple[HeadSpec, ...]:
        """The heads that it is made of."""
        return self.params.parts if isinstance(self.params, Parts) else ()

    @property
    def key(self) -> list[object]:
        """What decides what it becomes, but for code, features and labels; options at their defaults do not count."""
        options = self.params.model_dump(mode="json", exclude_defaults=True) if not self.parts else {}
        parts = [[part.name, *part.key] for part in self.parts]
        return [self.kind, self.head.version, json.dumps(options, sort_keys=True), parts]

    @property
    def code(self) -> tuple[type, ...]:
        """The classes whose code decides what it becomes."""
        return (*self.head.code(), *(kind for part in self.parts for kind in part.code))

    def seeds(self, params: CrossValidationParams) -> tuple[int, ...]:
        """The seeds that it is trained with: the first alone where chance plays no part in it."""
        return params.seeds if self.head.seeded else params.seeds[:1]

    def space(self, search: SearchParams) -> Space:
        """What is searched of it, by the names in `search.space`: ranges, then choices."""
        found = {name: entry for name, entry in search.space.entries.items() if self._reads(name)}
        return dict(sorted(found.items(), key=lambda item: not self.is_range(item[0])))

    def is_range(self, name: str) -> bool:
        """Whether an entry of its space is [low, high]: where the option is a number with a fraction."""
        return type(self.params).model_fields[_option(name)].annotation is float

    def value(self, name: str) -> Value:
        """What its params have for a name in `search.space`."""
        value: Value = getattr(self.params, _option(name))
        return value

    def with_values(self, values: Mapping[str, Value]) -> HeadSpec:
        """The same with other values of some params, by the names in `search.space`.

        Raises:
            pydantic.ValidationError: one of them is wrong, or they do not go together.
        """
        changed = {_option(name): value for name, value in values.items()}
        return replace(self, params=type(self.params).model_validate({**dict(self.params), **changed}, strict=True))

    def _reads(self, name: str) -> bool:
        of, dot, option = name.rpartition(".")
        return (of == self.name or not dot) and option in type(self.params).model_fields


class Parts(Section):
    """Params of a head that is made of others: of those in `train.heads`, or, alone there, of all built-in ones."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    parts: tuple[HeadSpec, ...] = ()


def _option(name: str) -> str:
    return name.rpartition(".")[2]
