"""Score clips with the members in data/fusion/: the mean over folds and seeds, and the scores on a known test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.modalities import Features, Indices, Mask, Matrix, load_features
from mer_pipeline.base.runs import Progress
from mer_pipeline.config.project import OUT_OF_FOLD, Project
from mer_pipeline.config.train_params import VISUAL, HeadName
from mer_pipeline.metrics.scores import GroupedScore, Score
from mer_pipeline.scores.bootstrap import units_of
from mer_pipeline.scores.score import grouped_score, score
from mer_pipeline.training.artifacts import FUSED, FusionConfig, load_member, member_path
from mer_pipeline.training.cross_validation import seeds_of

NO_MODALITY = "no modality: training prior"


@dataclass(frozen=True)
class Ensemble:
    """The predictions of all members of one head for n clips.

    Attributes:
        probabilities: float32 (S, n, C), for each seed the mean over the folds; where numbers are predicted, these.
        weights: float32 (n, M), the mean modality weights over seeds and folds.
        by_prior: bool (n,), true where every member gave the training prior.
    """

    probabilities: Matrix
    weights: Matrix
    by_prior: Mask


@dataclass(frozen=True)
class OutOfFold:
    """The out-of-fold predictions of the selected head for n labelled clips.

    Attributes:
        clip_ids: the ids of the clips, sorted.
        probabilities: float32 (n, C), the mean over the seeds.
        by_prior: bool (n,), true where a clip got the training prior.
    """

    clip_ids: tuple[str, ...]
    probabilities: Matrix
    by_prior: Mask


class Scorer:
    """Load members, average their predictions, and report progress."""

    def __init__(self, root: Path, config: FusionConfig, progress: Progress, *, scored: bool) -> None:
        self.root, self.config, self.progress, self.done = root, config, progress, 0
        assert config.selected is not None
        self.sets = [FUSED, *(config.modalities if config.params.single_modality else ())]
        left_out = [config.selected] * (1 + len(config.modalities))  # with all modalities, and without each one
        heads = [config.selected, *left_out, *(list(config.params.heads) * len(self.sets) if scored else ())]
        self.total = config.folds * sum(len(seeds_of(name, config.params)) for name in heads)

    def __call__(self, modality: str | None, head: HeadName, features: Features) -> Ensemble:
        """Return the predictions of a head on all modalities (FUSED) or on one."""
        chosen = features if modality is FUSED else features.only(modality)
        seeds, folds = seeds_of(head, self.config.params), self.config.folds
        probabilities = np.zeros((len(seeds), len(chosen), len(self.config.classes)), dtype=np.float32)
        weights = np.zeros(chosen.mask.shape, dtype=np.float32)
        by_prior = np.ones(len(chosen), dtype=bool)
        for s, seed in enumerate(seeds):
            for fold in range(folds):
                member = load_member(member_path(self.root, modality, head, seed, fold), self.config, modality, head)
                said = member.predict(chosen)
                probabilities[s] += said.probabilities / folds
                weights += said.weights / (folds * len(seeds))
                by_prior &= said.by_prior
                self.done += 1
                self.progress(self.done, self.total)
        return Ensemble(self.config.predicts.bounded(probabilities), weights, by_prior)

    def scores(
        self, features: Features, true: Indices, groups: Sequence[str]
    ) -> tuple[dict[str, GroupedScore], dict[str, dict[str, Score]]]:
        """Return the scores of every head on all modalities, and by modality on each alone.

        There is one prediction per seed, which is the mean over its folds.
        """
        heads, units = self.config.params.heads, units_of(groups)

        def said(modality: str | None, head: HeadName) -> list[Matrix]:
            return list(self(modality, head, features).probabilities)

        fused = {head: grouped_score(true, said(FUSED, head), units) for head in heads}
        alone = [modality for modality in self.sets if modality is not FUSED]
        return fused, {one: {head: score(true, said(one, head)) for head in heads} for one in alone}


def load_known(project: Project, config: FusionConfig, clip_ids: Sequence[str]) -> Features:
    """Return the features of these clips as the trained heads know them.

    Raises:
        StageError: a table of features can't be read.
        UsageError: the vectors of a modality have another length than those that the heads were trained on.
    """
    features = load_features(project.features, tuple(config.encoders), clip_ids)
    for (name, trained), found in zip(config.encoders.items(), features.dims, strict=True):
        if found != trained:
            raise UsageError(
                f"{project.features / name} has {found} values a clip and the heads were trained on {trained}; "
                "train them again with `dvc repro`"
            )
    return features.merged(tuple(config.merged), VISUAL)


def read_out_of_fold(root: Path, config: FusionConfig) -> OutOfFold:
    """Read the out-of-fold predictions of the selected head from the folder data/fusion/."""
    columns = ["clip_id", "head", "probabilities", "weights"]
    rows = [
        row for row in pq.read_table(root / OUT_OF_FOLD, columns=columns).to_pylist() if row["head"] == config.selected
    ]
    said = np.array([row["probabilities"] for row in rows], dtype=np.float32).reshape(len(rows), len(config.classes))
    by_prior = np.array([row["weights"] is None for row in rows], dtype=bool)
    return OutOfFold(tuple(row["clip_id"] for row in rows), said, by_prior)
