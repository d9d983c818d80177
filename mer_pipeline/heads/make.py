"""Make a head's specification, with its class and its params, from an entry of `train.heads`.

The params of a head are its own options, as its entry gives them, and those settings of `train` that its class `Params`
has too. They are checked here and not where params.yaml is read, because a head's module loads torch, and stages that
do not train should not wait for that. All code that trains or loads a head calls `head_of`. `check_heads` is called
before any work is done, by `mer init`, `mer plan` and the stage `ingest`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError
from torch import nn

from mer_pipeline.base.errors import ParamsError, did_you_mean
from mer_pipeline.base.kind import Kind
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.head_entry import LATE, late_fusion, without_late
from mer_pipeline.config.train_params import HeadName, TrainParams, Value, check_entry
from mer_pipeline.heads.base import Head
from mer_pipeline.heads.module import head_of_module
from mer_pipeline.heads.spec import HeadSpec, Parts


def head_of(name: HeadName, train: TrainParams) -> HeadSpec:
    """Return the specification of the head of this name.

    Raises:
        ParamsError: its kind is unknown, or one of its options is unknown or wrong.
        ComponentError: its code is not built in, and can't be imported or is not a valid head.
    """
    if name.endswith(LATE):
        return replace(head_of(without_late(name), train), name=name, late=head_of(late_fusion(train.heads), train))
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


def check_heads(train: TrainParams, others: Mapping[str, HeadName], kind: Kind | None = "class") -> None:
    """Check the options of all heads, those of `train` and those that other settings name.

    Args:
        train: the section `train`.
        others: further heads, by the name of the setting that names them. They only serve classes, and are not looked
            at for another kind of target.
        kind: the kind of target that the heads of `train` must be able to learn; None: it is not known yet.

    Raises:
        ParamsError: `head_of` raises it; or a head can't learn the kind of target; or an entry of the search space
            names no option of the head, is neither a valid range nor valid choices, lacks the present value, or has
            values that can't be combined.
        ComponentError: `head_of` raises it.
    """
    for name in dict.fromkeys((*train.heads, *(others.values() if kind in ("class", None) else ()))):
        for spec in head_of(name, train).trained:
            _check_space(spec, train)
    if kind is not None:
        check_kind(train, kind)


def check_kind(train: TrainParams, kind: Kind) -> None:
    """Check that the heads of `train` can learn a kind of target.

    Raises:
        ParamsError: a head can't.
    """
    for name in train.heads:
        for spec in head_of(name, train).trained:
            if kind not in spec.head.kinds:
                able = [one for one in HEADS.built_in if kind in _load(one).kinds]
                raise ParamsError(
                    f"train.heads.{name}: head '{spec.kind}' cannot learn dataset.target '{kind}'; heads that can are "
                    f"{', '.join(able)}"
                )


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
    """Return the names of a head's own options, in the order of its class `Params`."""
    elsewhere = TrainParams.model_fields.keys() | Parts.model_fields.keys()
    return [name for name in head.Params.model_fields if name not in elsewhere]


def _parts(train: TrainParams) -> list[HeadSpec]:
    """Return the heads that an ensemble may consist of: those of `train.heads`, or all built-in ones if there is none.

    A combination gives its two parts. An ensemble is left out.
    """
    late = [late_fusion(train.heads)] if any(name.endswith(LATE) for name in train.heads) else []
    named = dict.fromkeys([*map(without_late, train.heads), *late])
    names = [name for name in named if _is_single(train.entry(name).kind or name)]
    return [head_of(name, train) for name in names or filter(_is_usual, HEADS.built_in)]


def _is_usual(kind: str) -> bool:
    """Return whether a built-in head is one that learns classes and does not consist of other heads."""
    return _is_single(kind) and "class" in _load(kind).kinds


def _is_single(kind: str) -> bool:
    return not issubclass(_load(kind).Params, Parts)


def _sentence(where: str, item: Mapping[str, object]) -> str:
    """Return one pydantic error as a short sentence."""
    loc, given = item["loc"], item.get("input")
    assert isinstance(loc, tuple)
    # pydantic adds labels for the branches of a union ("int", "tuple[int, ...]"), which are no keys of the file.
    keys = [str(part) for part in loc if not re.search(r"\[|^(int|float|str|bool|constrained-.*)$", str(part))]
    shown = f" (got {json.dumps(given, ensure_ascii=False)})" if isinstance(given, str | int | float | bool) else ""
    return f"'{'.'.join([where, *keys])}': {str(item['msg']).removeprefix('Value error, ')}{shown}"
