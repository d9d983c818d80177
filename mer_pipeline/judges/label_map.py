"""Map the labels of a checkpoint to the classes of the dataset.

`maps.tsv` holds maps from common label sets to the classes of MER, where `-` stands for no class. A map must name every
label of the checkpoint, with a class or with none. Otherwise the probability of a forgotten label would be lost
unnoticed.
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

# From a label of the checkpoint to a class, or to None if the label has no class.
LabelMap = Mapping[str, str | None]


class MappedParams(ModelJudgeParams):
    """A judge whose checkpoint has labels of its own."""

    # a class for each label of the checkpoint, or null for a label without a class; or the name of a known map
    map: Annotated[str | dict[str, str | None], Field(examples=["fer2013"])]


@dataclass(frozen=True)
class Columns:
    """The class that each output of a checkpoint counts for.

    Attributes:
        of: the index of the class of each output, or None if the output has no class.
        classes: the number of classes.
    """

    of: tuple[int | None, ...]
    classes: int

    def vote(self, judge: Judge[Item], logits: Floats) -> Row | Skip:
        """Return a judge's row from one logit per output, (outputs,).

        The scores are the softmax over all outputs, summed by class and normalised without the outputs that have no
        class. If such an output is the most probable one, the checkpoint finds that the clip is of none of the classes,
        and the judge abstains.
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
    """Return the maps of maps.tsv by name. Their labels are in lower case."""
    lines = resources.files("mer_pipeline.judges").joinpath("maps.tsv").read_text(encoding="utf-8").splitlines()
    maps: dict[str, dict[str, str | None]] = {}
    for line in lines[1:]:
        name, label, target = line.split("\t")
        maps.setdefault(name, {})[label] = None if target == NO_CLASS else target
    return maps


def labels_of(config: PretrainedConfig) -> list[str]:
    """Return the names of a checkpoint's outputs, in their order.

    Raises:
        CheckpointError: its configuration does not name at least two outputs, numbered from 0.
    """
    names: Mapping[int, str] = config.id2label or {}
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        raise CheckpointError(f"{config.name_or_path} names no labels (id2label of its config.json)")
    return [str(names[at]) for at in sorted(names)]


def columns_of(name: str, given: str | LabelMap, labels: Sequence[str], classes: Sequence[str]) -> Columns:
    """Return the class of every label of a checkpoint.

    Args:
        name: the name of the judge, for error messages.
        given: a map with exactly the labels of the checkpoint; or the name of a known map, which may have further
            labels and ignores upper and lower case.
        labels: the labels of the checkpoint, in the order of its outputs.
        classes: the classes of the dataset, in order.

    Raises:
        ParamsError: there is no map of that name; or the map lacks a label of the checkpoint, has a label that the
            checkpoint lacks, leads to something that is no class, or has no class for any label.

    Example:
        >>> columns_of("faces", {"happiness": "joy", "contempt": None}, ["contempt", "happiness"], ["joy", "sad"])
        Columns(of=(None, 0), classes=2)
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
