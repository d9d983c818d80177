"""The labels that heads learn from and are scored against, as indices, read from the tables of labels and folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow.parquet as pq

from mer_pipeline.base.errors import StageError
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.modalities import Indices, Matrix
from mer_pipeline.base.target import Target, target_of
from mer_pipeline.config.project import Project
from mer_pipeline.heads.base import Examples
from mer_pipeline.heads.objective import figure
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.labels.pseudo_table import read_pseudo
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.tables.shards import provenance_of


@dataclass(frozen=True)
class Coded:
    """The meaning of label indices that are no classes.

    Attributes:
        target: what is predicted.
        rows: float32 (U, C), the numbers of each of the U different labels.
    """

    target: Target
    rows: Matrix


@dataclass(frozen=True)
class Labels:
    """The labels of n labelled clips in k folds, and of m clips of the pool, as int64 indices.

    For classes, an index is that of the class. For the other kinds of target, it is that of a row of `coded`.

    Attributes:
        clip_ids: the ids of the labelled clips, sorted.
        fold: int64 (n,), the fold of each clip, from 0 to k - 1.
        given: int64 (n,), the given labels.
        final: int64 (n,), the labels refined with all votes.
        held_out: int64 (k, n), at [f] the labels refined without fold f; MISSING on the clips of fold f.
        true: int64 (n,), the true labels, MISSING where they are not known.
        pseudo_ids: the ids of the m clips of the pool. In features, their rows follow those of the labelled clips.
        pseudo: int64 (k, m), at [f] the pseudo-labels for the head that is scored on fold f, MISSING where none.
        posterior: float32 (k + 1, n, C), the posteriors of the refinement: at [f] without fold f, with zeros on the
            clips of fold f, and at [FINAL] with all votes. None if nothing was refined.
        coded: what the indices mean; None for classes.
    """

    clip_ids: tuple[str, ...]
    fold: Indices
    given: Indices
    final: Indices
    held_out: Indices
    true: Indices
    pseudo_ids: tuple[str, ...] = ()
    pseudo: Indices = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    posterior: Matrix | None = None
    coded: Coded | None = None

    @property
    def all_ids(self) -> tuple[str, ...]:
        """The ids of all clips whose features are needed, in the order of the rows of the features."""
        return self.clip_ids + self.pseudo_ids

    @property
    def folds(self) -> int:
        """The number k of folds."""
        return len(self.held_out)

    @property
    def kind(self) -> Kind:
        """The kind of target."""
        return "class" if self.coded is None else self.coded.target.kind

    def examples(self, rows: Indices, label: Indices, fold: Indices, classes: int) -> Examples:
        """Return examples with these labels; the arguments are those of `Examples.of`."""
        plain = Examples.of(rows, np.zeros_like(label) if self.coded else label, fold, classes)
        if self.coded is None:
            return plain
        return replace(plain, label=label, target=self.coded.rows[label], kind=self.kind)

    def figure(self, rows: Indices, outputs: Matrix) -> float:
        """Return the figure (objective.py) of predictions of labelled clips against their given labels.

        Args:
            rows: int64 (r,), the indices of the clips.
            outputs: float32 (r, C), their predictions.
        """
        given = self.given[rows]
        return figure(self.kind, given, outputs if self.coded is None else self.coded.rows[given], outputs)


def read_target(project: Project, classes: Sequence[str]) -> Target:
    """Return the target of the dataset, which the stage `ingest` has noted in the table of folds."""
    return target_of(provenance_of(project.folds), classes)


def read_labels(project: Project, classes: Sequence[str], *, truth: bool = True, pseudo: bool = True) -> Labels:
    """Read the labels and folds, with the true labels and the pseudo-labels on request.

    Args:
        project: the paths of the tables.
        classes: the classes, in order; for the other kinds of target, the table of folds has the names.
        truth: whether to read the true labels.
        pseudo: whether to read the pseudo-labels.

    Raises:
        StageError: the tables of labels, folds and pseudo-labels do not fit each other.
    """
    target = read_target(project, classes)
    true_of = _column(project, "truth") if truth else {}
    index = {label: c for c, label in enumerate(classes)}
    if target.kind != "class":
        classes, index = target.names, _numbered({*_column(project, "labels").values(), *true_of.values()})
    table = pq.read_table(project.folds)
    fold_of: dict[str, int] = dict(zip(table["clip_id"].to_pylist(), table["fold"].to_pylist(), strict=True))
    clip_ids = sorted(fold_of)
    position = {clip_id: i for i, clip_id in enumerate(clip_ids)}
    k = max(fold_of.values(), default=-1) + 1
    given = np.full(len(clip_ids), MISSING, dtype=np.int64)
    refined = np.full((k + 1, len(clip_ids)), MISSING, dtype=np.int64)  # the last row is FINAL
    posterior = np.zeros((*refined.shape, len(classes)), dtype=np.float32)
    table = pq.read_table(project.labels, columns=["clip_id", "held_out_fold", "given", "label", "posterior"])
    said = table["posterior"].combine_chunks().flatten().to_numpy().reshape(-1, len(classes))
    for row, q in zip(table.drop_columns("posterior").to_pylist(), said, strict=True):
        if row["clip_id"] in position and FINAL <= row["held_out_fold"] < k:
            i = position[row["clip_id"]]
            given[i] = index[row["given"]]
            refined[row["held_out_fold"], i] = index[row["label"]]
            posterior[row["held_out_fold"], i] = q
    fold = np.array([fold_of[clip_id] for clip_id in clip_ids], dtype=np.int64)
    if ((refined[:k] == MISSING) != (fold == np.arange(k)[:, None])).any() or (refined[FINAL] == MISSING).any():
        raise StageError(
            f"{project.labels} was not made from {project.folds}: their clips differ; run `dvc repro labels`"
        )
    true = np.array([index[true_of[c]] if c in true_of else MISSING for c in clip_ids], dtype=np.int64)
    found = Labels(tuple(clip_ids), fold, given, refined[FINAL], refined[:k], true, posterior=posterior)
    if target.kind != "class":  # their labels are not refined, and nobody gives pseudo-labels
        rows = np.stack([target.vector(label) for label in index]) if index else np.zeros((0, len(classes)), np.float32)
        return replace(found, posterior=None, coded=Coded(target, rows))
    if not pseudo:
        return found
    ids, taken = read_pseudo(project.pseudo, k, classes)
    return replace(found, pseudo_ids=ids, pseudo=taken)


def _numbered(labels: set[str]) -> dict[str, int]:
    return {label: at for at, label in enumerate(sorted(labels))}


def _column(project: Project, table: str) -> dict[str, str]:
    """Return the label of each clip in a table."""
    rows = pq.read_table(project.table(table), columns=["clip_id", "label"])
    return dict(zip(rows["clip_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
