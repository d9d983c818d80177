"""Score trained heads on sets of classes and on numbers: the counterpart of summary.py for the other kinds of target.

The head is selected by its out-of-fold mAP or CCC on the given labels. Beside every score stands that of a constant:
the mean of the given labels, as the prediction for every clip. The sets that count for F1 are decided by thresholds
that are chosen without the fold of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mer_pipeline.base.modalities import Indices, Mask, Matrix
from mer_pipeline.base.target import Numbers, Target
from mer_pipeline.config.train_params import HeadName
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.target import MAIN, TargetPair, TargetScores
from mer_pipeline.scores.bootstrap import Units, units_of
from mer_pipeline.scores.sets import best_thresholds, decided_out_of_fold
from mer_pipeline.scores.target import judge
from mer_pipeline.training.artifacts import FUSED
from mer_pipeline.training.labels import Coded, Labels
from mer_pipeline.training.validated import Validated


def target_scores(
    results: Mapping[str | None, Mapping[HeadName, Validated]], labels: Labels, groups: Sequence[str]
) -> TargetScores:
    """Return the scores of all heads.

    Args:
        results: the trained heads by set of modalities, FUSED for all, and by name.
        labels: the labels, which are no classes.
        groups: the group of each labelled clip.
    """
    coded = labels.coded
    assert coded is not None
    units = units_of(groups)
    constant = np.tile(np.array(constant_of(labels), dtype=np.float32), (len(labels.given), 1))

    def pair(predicted: Sequence[Matrix], groups: Sequence[str] | None) -> TargetPair:
        return _pair(coded, labels, predicted, groups)

    kind: Literal["multilabel", "regression"] = "multilabel" if labels.kind == "multilabel" else "regression"
    return TargetScores(
        kind=kind,
        main=MAIN[kind],
        ranges=coded.target.ranges if isinstance(coded.target, Numbers) else None,
        constant=pair([constant], None),
        heads={name: pair(list(one.probabilities), groups) for name, one in results.get(FUSED, {}).items()},
        single={
            modality: {name: pair(list(one.probabilities), None) for name, one in heads.items()}
            for modality, heads in results.items()
            if modality is not FUSED
        },
        caveat=units.caveat,
    )


def select_by_figure(scores: TargetScores) -> HeadName | None:
    """Return the head with the highest main figure on the given labels; in a tie, the first one in `train.heads`."""
    return max(scores.heads, key=lambda name: scores.heads[name].given.figures[scores.main], default=None)


def constant_of(labels: Labels) -> tuple[float, ...] | None:
    """Return the mean of the given labels as numbers; None for classes. Without labels it is that nothing is known."""
    if labels.coded is None:
        return None
    given = labels.coded.rows[labels.given] if len(labels.given) else labels.coded.target.unknown()[None]
    return tuple(round(float(one), 6) for one in given.mean(axis=0, dtype=np.float64))


def thresholds_of(validated: Validated, labels: Labels) -> tuple[float, ...] | None:
    """Return the thresholds of a head's mean out-of-fold probabilities on all labelled clips; None for numbers."""
    if labels.coded is None or labels.kind != "multilabel":
        return None
    found = best_thresholds(labels.coded.rows[labels.given], validated.probabilities.mean(axis=0))
    return tuple(round(float(one), 6) for one in found)


def out_of_fold_labels(target: Target, probabilities: Matrix, labels: Labels) -> list[str]:
    """Return out-of-fold predictions, float32 (n, C), as labels; a set's thresholds are chosen without its fold."""
    said = probabilities
    if labels.coded is not None and labels.kind == "multilabel":
        said = decided_out_of_fold(labels.coded.rows[labels.given], probabilities, labels.fold).astype(np.float32)
    return [target.label(row) for row in said]


def _pair(coded: Coded, labels: Labels, predicted: Sequence[Matrix], groups: Sequence[str] | None) -> TargetPair:
    """Score predictions of the labelled clips, with an interval over groups if they are given."""
    given, known = coded.rows[labels.given], np.flatnonzero(labels.true != MISSING)
    decided = _decided(given, predicted, labels.fold) if labels.kind == "multilabel" else None

    def units(at: Indices) -> Units | None:
        return None if groups is None else units_of([groups[i] for i in at])

    true = None
    if len(known):
        at = [one[known] for one in predicted], decided and [one[known] for one in decided]
        true = judge(coded.target, coded.rows[labels.true[known]], *at, units(known))
    return TargetPair(given=judge(coded.target, given, predicted, decided, units(np.arange(len(given)))), true=true)


def _decided(given: Matrix, predicted: Sequence[Matrix], fold: Indices) -> list[Mask]:
    return [decided_out_of_fold(given, one, fold) for one in predicted]
