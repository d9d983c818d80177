"""What each stage that trains fusion heads is given: the classes, the encoders that heads read, and how to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_pipeline.base.modalities import Features, load_features, merged_names
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import VISUAL, EncoderNames, TrainParams


@dataclass(frozen=True)
class Task:
    """What is learnt, from what, and how.

    Attributes:
        classes: in the order of every table and matrix.
        encoders: which features are read.
        train: how the heads are trained.
    """

    classes: tuple[str, ...]
    encoders: EncoderNames
    train: TrainParams

    @property
    def modalities(self) -> tuple[str, ...]:
        """The heads' tokens, in order: the encoders, those that are merged as one."""
        return merged_names(self.encoders.all, self.encoders.merged, VISUAL)

    def load(self, project: Project, clip_ids: Sequence[str]) -> Features:
        """The modalities of these clips.

        Raises:
            StageError: a table of features is not what `load_features` reads.
        """
        return load_features(project.features, self.encoders.all, clip_ids).merged(self.encoders.merged, VISUAL)
