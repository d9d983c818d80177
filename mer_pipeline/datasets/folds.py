"""Folds for cross-validation: stratified by label, with all clips of a group in one fold. They are stored as a table.

The same clips, number of folds and seed always give the same folds.
"""

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
    """Cross-validation folds of the labelled clips: stratified, with all clips of a group in one fold."""

    n: Annotated[int, Field(ge=2)] = 5  # number of folds; it is smaller if there are fewer groups
    seed: Seed = 0  # of the assignment of groups to folds


@dataclass(frozen=True)
class Folds:
    """The folds of the labelled clips.

    Attributes:
        of: the fold of each clip, from 0 to n-1.
        n: the number of folds; 1 if cross-validation is impossible, 0 if there are no labelled clips.
        note: what a reader of a score must know about the folds, or "".
    """

    of: dict[str, int]
    n: int
    note: str


def make_folds(clips: Sequence[tuple[str, str, str]], params: FoldParams) -> Folds:
    """Assign labelled clips to folds. The result depends on the arguments only, and not on the order of the clips.

    If there are fewer groups than folds, or no class has as many clips as there are folds, there are fewer folds. If
    all clips are of one group, each clip is treated as a group of its own. The note then says that the scores say
    nothing about new speakers.

    Args:
        clips: (clip_id, label, group) of each clip.
        params: the number of folds and the seed.

    Example:
        >>> clips = [(f"clip{i}", "happy" if i % 2 else "sad", f"speaker{i // 2}") for i in range(8)]
        >>> folds = make_folds(clips, FoldParams(n=4))
        >>> folds.n, sorted(set(folds.of.values()))
        (4, [0, 1, 2, 3])
        >>> folds.of["clip0"] == folds.of["clip1"]  # both are of speaker0
        True
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
        # A class with fewer clips than folds is missing in some of them. The table of scores per class shows it.
        warnings.filterwarnings("ignore", "The least populated class")
        for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(ordered)), labels, groups)):
            fold_of.update({ordered[at][0]: fold for at in held_out})
    return Folds(fold_of, n, "; ".join(notes))
