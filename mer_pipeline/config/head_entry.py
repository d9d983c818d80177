"""An entry of `train.heads`: the name of a head, its kind, and its own options.

    ecmf: {attention_layers: 2}               the head `ecmf`, with an option
    flat: {kind: ecmf, attention_layers: 0}   the same kind under another name
    ecmf+late: {}                             a combination: the mean of the heads `ecmf` and `logreg`

A combination `HEAD+late` is made of what both heads have learnt, so nothing is trained for it and it has no options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from mer_pipeline.base.errors import did_you_mean
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.section import Section

LATE = "+late"  # the end of a combination's name
LATE_FUSION = "logreg"  # the head that is late fusion of classes
OTHER_LATE = frozenset({"binary", "ridge"})  # the kinds of late fusion of sets of classes and of numbers
HeadName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*(\+late)?$")]


class HeadEntry(Section):
    """An entry of `train.heads`: the head's kind, if it differs from the head's name, and the head's own options.

    The entry `HEAD+late`, such as `ecmf+late`, is a combination: the mean of the probabilities of HEAD and of late
    fusion, which is the head `logreg` (for other targets `binary` or `ridge`). It has no options, because both heads
    have theirs in their own entries.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    kind: str | None = None  # which code: a built-in kind, MODULE:CLASS or PATH.py:CLASS; absent: the head's name

    @property
    def options(self) -> dict[str, JsonValue]:
        """The head's own options as they are given, unchecked; heads/make.py checks them."""
        return dict(self.__pydantic_extra__)


Entries = Mapping[HeadName, HeadEntry]


def without_late(name: HeadName) -> HeadName:
    """Return the name of a combination's head; the name of any other head stays as it is.

    Example:
        >>> without_late("ecmf+late"), without_late("ecmf")
        ('ecmf', 'ecmf')
    """
    return name.removesuffix(LATE)


def kind_of(name: HeadName, heads: Entries) -> str:
    """Return the kind of a head, which is its name if it has no entry; of a combination, the kind of its head."""
    own = without_late(name)
    return heads.get(own, HeadEntry()).kind or own


def late_fusion(heads: Entries) -> HeadName:
    """Return the head that is late fusion in all combinations.

    It is an entry of a kind that learns another target than classes, if there is one, and else `logreg`.

    Example:
        >>> late_fusion({"ecmf": HeadEntry(), "ridge": HeadEntry()}), late_fusion({})
        ('ridge', 'logreg')
    """
    return next((name for name in heads if kind_of(name, heads) in OTHER_LATE), LATE_FUSION)


def is_kind(name: str) -> bool:
    """Return whether a head of this kind is built in or installed."""
    return name in HEADS.built_in or name in HEADS.names()  # `names` is slower, because it reads entry points


def check_entries(heads: Entries) -> None:
    """Check the names and kinds of all entries of `train.heads`.

    Raises:
        ValueError: a kind is unknown; a combination has options or is of late fusion itself; or a head has the options
            of an older version.
    """
    for name, entry in heads.items():
        own, kind = without_late(name), kind_of(name, heads)
        if name != own and kind in {LATE_FUSION, *OTHER_LATE}:
            raise ValueError(f"'{name}': '{own}' is late fusion already; name '{own}' alone")
        if name != own and entry != HeadEntry():
            raise ValueError(
                f"'{name}' has no options; those of its two heads are in the entries '{own}' and '{LATE_FUSION}'"
            )
        if kind == "ecmf" and not entry.options.keys().isdisjoint(("late_fusion", "late_fusion_c")):
            raise ValueError(
                f"'{name}' is the network alone now, without the options late_fusion and late_fusion_c; name the head "
                f"'{name}{LATE}' too for its mean with late fusion, whose strengths are the option c of '{LATE_FUSION}'"
            )
        if ":" not in kind and not is_kind(kind):
            raise ValueError(f"there is no head '{kind}'{did_you_mean(kind, HEADS.names())}")


def in_order(heads: Entries) -> dict[HeadName, HeadEntry]:
    """Return the heads in a fixed order: built-in kinds in the order of their table, then the others by name.

    The order in params.yaml must not count, because DVC does not notice when the keys of a mapping change places.
    """
    built_in = list(HEADS.built_in)

    def rank(name: HeadName) -> tuple[int, HeadName]:
        kind = kind_of(name, heads)
        return (built_in.index(kind) if kind in built_in else len(built_in), name)

    return {name: heads[name] for name in sorted(heads, key=rank)}
