"""From the labels of a checkpoint to the classes: every label has its class or says that it has none.

`maps.tsv` has the label sets that are often met, to the classes of MER; `-` stands for no class. A map is complete or
an error: a label that nobody thought of would otherwise lose its probability without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
from pydantic import Field

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import CheckpointError, ParamsError, Skip, did_you_mean
from mer_pipeline.judges.judge import Floats, Judge, ModelJudgeParams, softmax

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Item = TypeVar("Item")

NO_CLASS = "-"

# The checkpoint's label to a class, None for one that has none.
LabelMap = Mapping[str, str | None]


class MappedParams(ModelJudgeParams):
    """A judge whose checkpoint has labels of its own."""

    # the checkpoint's labels to classes, null for one that has none; or the name of a known map
    map: Annotated[str | dict[str, str | None], Field(examples=["fer2013"])]


@dataclass(frozen=True)
class Columns:
    """Which class each of a checkpoint's outputs counts for.

    Attributes:
        of: per output, the index of its class, or None.
        classes: how many there are.
    """

    of: tuple[int | None, ...]
    classes: int

    def vote(self, judge: Judge[Item], logits: Floats) -> Row | Skip:
        """A judge's row from a logit per output; what outputs without a class have is left out.

        Where one of those has most of all, the checkpoint says that the clip is none of the classes: what little it
        leaves to them is no vote.
        """
        shares = softmax(logits)
        weights = np.zeros(self.classes)
        for share, at in zip(shares, self.of, strict=True):
            if at is not None:
                weights[at] += share
        if weights.sum() <= 0:
            return Skip("the checkpoint sees nothing but a label that has no class here")
        return judge.verdict(weights, abstains=self.of[int(shares.argmax())] is None)


@cache
def known_maps() -> Mapping[str, LabelMap]:
    """The maps of maps.tsv, by name; their labels are in lower case."""
    lines = resources.files("mer_pipeline.judges").joinpath("maps.tsv").read_text(encoding="utf-8").splitlines()
    maps: dict[str, dict[str, str | None]] = {}
    for line in lines[1:]:
        name, label, target = line.split("\t")
        maps.setdefault(name, {})[label] = None if target == NO_CLASS else target
    return maps


def labels_of(config: PretrainedConfig) -> list[str]:
    """What a checkpoint calls its outputs, in their order.

    Raises:
        CheckpointError: its configuration does not say.
    """
    names: Mapping[int, str] = config.id2label or {}
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        raise CheckpointError(f"{config.name_or_path} names no labels (id2label of its config.json)")
    return [str(names[at]) for at in sorted(names)]


def columns_of(name: str, given: str | LabelMap, labels: Sequence[str], classes: Sequence[str]) -> Columns:
    """The class of every label of a checkpoint.

    Args:
        name: of the judge, for messages.
        given: a map, which fits the labels exactly; or the name of a known one, which ignores case and may have more.
        labels: of the checkpoint, in the order of its outputs.
        classes: of the dataset.

    Raises:
        ParamsError: there is no map of that name; or it lacks a label, has one that the checkpoint does not, or
            leads to something that is no class; or to no class at all.
    """
    where = f"judges.{name}.map"
    if isinstance(given, str):
        where = f"{where} '{given}'"
        maps = known_maps()
        if given not in maps:
            raise ParamsError(f"{where} is no known map{did_you_mean(given, maps)}; or write out label: class")
        targets: LabelMap = {label: maps[given][label.lower()] for label in labels if label.lower() in maps[given]}
    else:
        targets = given
        for label in targets:
            if label not in labels:
                raise ParamsError(f"{where}: the checkpoint has no label '{label}'{did_you_mean(label, labels)}")
    for label in labels:
        if label not in targets:
            raise ParamsError(
                f"{where}: the checkpoint's label '{label}' is not in it; give it a class, or null for none "
                f"(its labels: {', '.join(labels)})"
            )
        target = targets[label]
        if target is not None and target not in classes:
            hint = did_you_mean(target, classes)
            raise ParamsError(
                f"{where}: '{label}' leads to '{target}', which is not in dataset.classes{hint}; add the class "
                "there, or write the map out with another class or null for that label"
            )
    if all(targets[label] is None for label in labels):
        raise ParamsError(f"{where}: no label of the checkpoint has a class")
    of = (None if (target := targets[label]) is None else list(classes).index(target) for label in labels)
    return Columns(tuple(of), len(classes))
