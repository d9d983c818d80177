"""The specification of a head: its name, kind, class and params, as params.yaml describes them.

`make.py` makes it, and it is passed to the code that trains or loads heads. This module does not depend on the list of
all heads. So the key and the code by which the head cache finds a trained head stay the same when a head is added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import ConfigDict

from mer_pipeline.config.head_entry import without_late
from mer_pipeline.config.section import Section
from mer_pipeline.config.train_params import CrossValidationParams, HeadName, SearchParams, Value
from mer_pipeline.heads.base import Head

Space = dict[str, tuple[Value, ...]]


@dataclass(frozen=True)
class HeadSpec:
    """The specification of a head, or of a combination `HEAD+late`.

    Attributes:
        name: its name in params.yaml.
        kind: its kind, which names its class.
        head: its class.
        params: its params, an instance of the class's `Params`.
        late: of a combination, the specification of late fusion; all else is that of the head before the "+".
    """

    name: HeadName
    kind: str
    head: type[Head]
    params: Section
    late: HeadSpec | None = None

    @property
    def alone(self) -> HeadSpec:
        """The specification of the head without late fusion."""
        return replace(self, name=without_late(self.name), late=None)

    @property
    def trained(self) -> tuple[HeadSpec, ...]:
        """The specifications of the heads that are trained for it: itself, or both parts of a combination."""
        return (self,) if self.late is None else (self.alone, self.late)

    @property
    def parts(self) -> tuple[HeadSpec, ...]:
        """The heads that it consists of; empty for most heads."""
        return self.params.parts if isinstance(self.params, Parts) else ()

    @property
    def key(self) -> list[object]:
        """What determines the trained head besides code, features and labels, for the head cache.

        Options with their default values are left out, so that a new option does not change the key.
        """
        options = self.params.model_dump(mode="json", exclude_defaults=True) if not self.parts else {}
        parts = [[part.name, *part.key] for part in self.parts]
        late = [] if self.late is None else [self.late.key]
        return [self.kind, self.head.version, json.dumps(options, sort_keys=True), parts, *late]

    @property
    def code(self) -> tuple[type, ...]:
        """The classes whose code determines the trained head."""
        late = () if self.late is None else self.late.code
        return (*self.head.code(), *(kind for part in self.parts for kind in part.code), *late)

    def seeds(self, params: CrossValidationParams) -> tuple[int, ...]:
        """Return the seeds that it is trained with: only the first one if the head has no random choices."""
        return params.seeds if self.head.seeded else params.seeds[:1]

    def space(self, search: SearchParams) -> Space:
        """Return the entries of `search.space` that concern this head, ranges first and then choices."""
        found = {name: entry for name, entry in search.space.entries.items() if self._reads(name)}
        return dict(sorted(found.items(), key=lambda item: not self.is_range(item[0])))

    def is_range(self, name: str) -> bool:
        """Return whether the entry of this name is a range [low, high], which holds for options of type float."""
        return type(self.params).model_fields[_option(name)].annotation is float

    def value(self, name: str) -> Value:
        """Return the present value of the param of this name in `search.space`."""
        value: Value = getattr(self.params, _option(name))
        return value

    def with_values(self, values: Mapping[str, Value]) -> HeadSpec:
        """Return the specification with other values of some params, by their names in `search.space`.

        Raises:
            pydantic.ValidationError: a value is wrong, or the values can't be combined.
        """
        changed = {_option(name): value for name, value in values.items()}
        return replace(self, params=type(self.params).model_validate({**dict(self.params), **changed}, strict=True))

    def _reads(self, name: str) -> bool:
        of, dot, option = name.rpartition(".")
        return (of == without_late(self.name) or not dot) and option in type(self.params).model_fields


class Parts(Section):
    """Params of a head that consists of others: of those in `train.heads`, or, alone there, of all built-in ones."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    parts: tuple[HeadSpec, ...] = ()


def _option(name: str) -> str:
    return name.rpartition(".")[2]
