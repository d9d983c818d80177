"""From an entry of `train.heads` to the head: its class, and its params.

A head's params are its own options, as its entry gives them, and those settings of `train` that its class `Params` has
too. They are checked here and not where params.yaml is read, because a head's module loads torch, and stages that do
not train need not wait for that. Whoever trains or loads a head comes by here. `check_heads` is for those who look
before any work is done: `mer init`, `mer plan` and the stage `ingest`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping

from pydantic import ValidationError
from torch import nn

from mer_pipeline.base.errors import ParamsError, did_you_mean
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.train_params import HeadName, TrainParams, Value, check_entry
from mer_pipeline.heads.base import Head
from mer_pipeline.heads.module import head_of_module
from mer_pipeline.heads.spec import HeadSpec, Parts


def head_of(name: HeadName, train: TrainParams) -> HeadSpec:
    """The head of this name.

    Raises:
        ParamsError: its kind is unknown, or an option of its is unknown or wrong.
        ComponentError: its code is not built in, and cannot be imported or does not fit.
    """
    entry, where = train.entry(name), f"train.heads.{name}"
    kind = entry.kind or name
    head = _load(kind)
    own, shared = _own_options(head), head.Params.model_fields.keys() & TrainParams.model_fields.keys()
    for option in entry.options:
        if option in shared:
            raise ParamsError(f"{where}.{option}: it is set for all heads at once, as train.{option}")
        if option not in own:
            raise ParamsError(f"{where}: head '{kind}' has no option '{option}'{did_you_mean(option, own)}")
    given = json.dumps({**entry.options, **{option: getattr(train, option) for option in shared}})
    try:
        params = head.Params.model_validate_json(given, strict=True)
    except ValidationError as error:
        raise ParamsError("; ".join(_sentence(where, item) for item in error.errors())) from None
    if isinstance(params, Parts):
        params = params.model_copy(update={"parts": tuple(_parts(train))})
    return HeadSpec(name, kind, head, params)


def check_heads(train: TrainParams, others: Mapping[str, HeadName]) -> None:
    """Look at the options of all heads before any work is done: of those of `train`, and of those that others name.

    Args:
        train: the section.
        others: heads by where they are named.

    Raises:
        ParamsError: as `head_of`; or what is searched of a head has no such option, is no range or no choices, lacks
            the value that it begins with, or has values that do not go together.
        ComponentError: as `head_of`.
    """
    for name in dict.fromkeys((*train.heads, *others.values())):
        _check_space(head_of(name, train), train)


def _check_space(spec: HeadSpec, train: TrainParams) -> None:
    search, own = train.search, _own_options(spec.head)
    for name in search.space.entries:
        of, _, option = name.rpartition(".")
        if of == spec.name and option not in own:
            raise ParamsError(
                f"train.search.space.{name}: head '{of}' has no option '{option}'{did_you_mean(option, own)}"
            )
    space = spec.space(search)
    for name, entry in space.items():
        is_range, value = spec.is_range(name), spec.value(name)
        try:
            check_entry(f"train.search.space.{name}", entry, is_range=is_range)
        except ValueError as error:
            raise ParamsError(str(error)) from None
        if search.trials and not _allows(entry, value, is_range=is_range):
            raise ParamsError(f"train.search.space.{name} does not have {value}, where the search begins")
    for values in itertools.product(*space.values()):
        try:
            spec.with_values(dict(zip(space, values, strict=True)))
        except ValidationError as error:
            told = "; ".join(_sentence(f"head {spec.name}", item) for item in error.errors())
            raise ParamsError(f"train.search.space has values that do not go together: {told}") from None


def _allows(entry: tuple[Value, ...], value: Value, *, is_range: bool) -> bool:
    return entry[0] <= value <= entry[1] if is_range else value in entry  # type: ignore[operator]


def _load(kind: str) -> type[Head]:
    found = HEADS.load(kind)
    if issubclass(found, nn.Module):
        return head_of_module(found)  # type: ignore[arg-type]  # a class has a hash
    return found


def _own_options(head: type[Head]) -> list[str]:
    """The names of a head's own options, in the order of its class of params."""
    elsewhere = TrainParams.model_fields.keys() | Parts.model_fields.keys()
    return [name for name in head.Params.model_fields if name not in elsewhere]


def _parts(train: TrainParams) -> list[HeadSpec]:
    """The heads that one may be made of which is made of others."""
    names = [name for name, entry in train.heads.items() if _is_single(entry.kind or name)]
    return [head_of(name, train) for name in names or filter(_is_single, HEADS.built_in)]


def _is_single(kind: str) -> bool:
    return not issubclass(_load(kind).Params, Parts)


def _sentence(where: str, item: Mapping[str, object]) -> str:
    """One pydantic error as a short sentence."""
    loc, given = item["loc"], item.get("input")
    assert isinstance(loc, tuple)
    # A union's branch labels ("int", "tuple[int, ...]") are no keys of the file.
    keys = [str(part) for part in loc if not re.search(r"\[|^(int|float|str|bool|constrained-.*)$", str(part))]
    shown = f" (got {json.dumps(given, ensure_ascii=False)})" if isinstance(given, str | int | float | bool) else ""
    return f"'{'.'.join([where, *keys])}': {str(item['msg']).removeprefix('Value error, ')}{shown}"
