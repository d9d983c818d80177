"""Cross-validation folds, written once as data: stratified by label, whole groups together, seeded."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mer_pipeline.config.section import Section, Seed


class FoldParams(Section):
    """Cross-validation folds over the labelled training clips: stratified, whole groups together."""

    n: Annotated[int, Field(ge=2)] = 5  # how many; fewer where there are fewer groups
    seed: Seed = 0  # of the deal


@dataclass(frozen=True)
class Folds:
    """A fold per clip.

    Attributes:
        of: clip to fold, 0..n-1.
        n: how many there are; 1 where cross-validation is impossible.
        note: what a reader of a score must know, or "".
    """

    of: dict[str, int]
    n: int
    note: str


def make_folds(clips: Sequence[tuple[str, str, str]], params: FoldParams) -> Folds:
    """Deal labelled clips into folds; a pure function of its arguments.

    Args:
        clips: (clip_id, label, group) of each.
        params: number wanted and seed.

    Fewer groups than folds give fewer folds. All clips of one group are split as if each were its own,
    and the note says that the score then says nothing about new speakers.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    ordered = sorted(clips)
    labels = [label for _, label, _ in ordered]
    groups = [group for _, _, group in ordered]
    most = max(Counter(labels).values(), default=0)
    notes = []
    if not ordered:
        return Folds({}, 0, "there are no labelled clips")
    if most < 2:
        note = f"{len(ordered)} labelled clips and no class with two: cross-validation is impossible"
        return Folds({clip_id: 0 for clip_id, _, _ in ordered}, 1, note)
    if len(set(groups)) == 1:
        groups = [clip_id for clip_id, _, _ in ordered]
        notes.append(
            "all labelled clips are of one group (one speaker): folds split it, and the scores say nothing about others"
        )
    n = min(params.n, len(set(groups)), most)
    if n < params.n:
        notes.append(f"{n} folds instead of {params.n}: there are {len(set(groups))} groups")
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=params.seed)
    fold_of: dict[str, int] = {}
    with warnings.catch_warnings():
        # A class with fewer clips than folds is missing from some; the per-class table shows it.
        warnings.filterwarnings("ignore", "The least populated class")
        for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(ordered)), labels, groups)):
            fold_of.update({ordered[at][0]: fold for at in held_out})
    return Folds(fold_of, n, "; ".join(notes))
