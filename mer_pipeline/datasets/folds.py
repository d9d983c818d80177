"""Folds for cross-validation: stratified by label, with all clips of a group in one fold. They are stored as a table.

    class         StratifiedGroupKFold of scikit-learn
    multilabel    iterative stratification: each fold gets its share of the clips of every class (Sechidis et al. 2011)
    regression    the same with the quantiles of each dimension in place of the classes

The same clips, number of folds and seed always give the same folds.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mer_pipeline.base.target import Target
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


def make_folds(
    clips: Sequence[tuple[str, str, str]],
    params: FoldParams,
    copies: Sequence[Sequence[str]] = (),
    target: Target | None = None,
) -> Folds:
    """Deal labelled clips into folds; a pure function of its arguments.

    Args:
        clips: (clip_id, label, group) of each.
        params: number wanted and seed.
        copies: sets of clips that are the same; they stay together, and so do their groups.
        target: what the labels are; None: each is one class.

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
    clip_ids = [clip_id for clip_id, _, _ in ordered]
    given = [group for _, _, group in ordered]
    groups, joins = _join(given, clip_ids, copies)
    notes = []
    if not ordered:
        return Folds({}, 0, "there are no labelled clips")
    strata = None if target is None or target.kind == "class" else target.strata(labels)
    most = int(strata.sum(axis=0).max()) if strata is not None else max(Counter(labels).values())
    if most < 2 or len(set(_join(clip_ids, clip_ids, copies)[0])) < 2:
        note = f"{len(ordered)} labelled clips and no class with two different ones: cross-validation is impossible"
        return Folds({clip_id: 0 for clip_id, _, _ in ordered}, 1, note)
    before, units = len(set(given)), "groups"
    if len(set(groups)) == 1:
        one = (
            "copies of clips join all groups into one" if joins else "all labelled clips are of one group (one speaker)"
        )
        notes.append(f"{one}: folds split it, and the scores say nothing about others")
        groups, _ = _join(clip_ids, clip_ids, copies)
        before, units = len(clip_ids), "different clips"
    elif joins:
        notes.append(f"groups that have copies of one clip count as one group ({joins} fewer)")
    there = len(set(groups))
    n = min(params.n, there, most)
    if n < params.n:
        parted = f" ({before} before copies were joined)" if before > there else ""
        why = f"no class has more than {most} clips" if most < there else f"there are {there} {units}{parted}"
        notes.append(f"{n} folds instead of {params.n}: {why}")
    if strata is not None:
        dealt = _deal(strata, groups, n, params.seed)
        return Folds(dict(zip(clip_ids, dealt, strict=True)), n, "; ".join(notes))
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=params.seed)
    fold_of: dict[str, int] = {}
    with warnings.catch_warnings():
        # A class with fewer clips than folds is missing in some of them. The table of scores per class shows it.
        warnings.filterwarnings("ignore", "The least populated class")
        for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(ordered)), labels, groups)):
            fold_of.update({ordered[at][0]: fold for at in held_out})
    if lopsided := _lopsided(groups, units):
        notes.append(lopsided)
    return Folds(fold_of, n, "; ".join(notes))


def _deal(strata: NDArray[np.bool_], groups: Sequence[str], n: int, seed: int) -> list[int]:
    """Deal groups into n folds so that each fold has its share of every stratum, and of all clips.

    A group goes to the fold after which the shares differ least between the folds; groups whose strata are the most
    uneven are dealt first, and groups that are alike in the order of the seed.

    Args:
        strata: bool (n, S), the strata that each clip is in.
        groups: the group of each clip.
        n: the number of folds.
        seed: of the order of the groups.

    Returns:
        The fold of each clip.
    """
    names, of = np.unique(groups, return_inverse=True)
    each = np.concatenate([strata, np.ones((len(strata), 1), dtype=bool)], axis=1)
    counts = np.zeros((len(names), each.shape[1]))
    np.add.at(counts, of, each)
    whole = np.maximum(counts.sum(axis=0), 1)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].std(axis=1), kind="stable")]
    dealt, fold_of = np.zeros((n, counts.shape[1])), np.zeros(len(names), dtype=np.int64)
    for group in order:
        # The sum of squares is least where the group fills what a fold lacks of rare strata, which count as much as
        # frequent ones. Only the terms of the fold that the group goes to differ between the folds.
        rises = (((dealt + counts[group]) / whole) ** 2 - (dealt / whole) ** 2).sum(axis=1)
        fold_of[group] = int(rises.argmin())
        dealt[fold_of[group]] += counts[group]
    return [int(fold) for fold in fold_of[of]]


def _lopsided(groups: Sequence[str], units: str) -> str:
    """What is to be known where one group has more than two thirds of the clips: few are left to learn from."""
    (group, count), *_ = Counter(groups).most_common(1)
    others = len(groups) - count
    if units != "groups" or count <= 2 * others:
        return ""
    return (
        f"group '{group}' has {count} of the {len(groups)} labelled clips, and heads that are scored on it learn from "
        f"the other {others} at most: the scores say little"
    )


def joined(sets: Iterable[Iterable[str]]) -> list[list[str]]:
    """Sets that share a member as one, each sorted; the order is that of their first members."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for members in sets:
        roots = sorted({root(name) for name in members})
        for name in roots:
            parent[name] = roots[0]
    by_root: dict[str, list[str]] = {}
    for name in sorted(parent):
        by_root.setdefault(root(name), []).append(name)
    return [by_root[name] for name in sorted(by_root)]


def _join(groups: Sequence[str], clip_ids: Sequence[str], copies: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """The group of each clip, where groups that share a clip are one; and how many were joined to another."""
    group_of = dict(zip(clip_ids, groups, strict=True))
    sets = joined({group_of[name] for name in names if name in group_of} for names in copies)
    first = {group: members[0] for members in sets for group in members}
    return [first.get(group, group) for group in groups], sum(len(members) - 1 for members in sets)
