"""The task of every stage that trains fusion heads: the classes, the encoders that heads read, and how to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_pipeline.base.modalities import Features, load_features, merged_names
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import VISUAL, EncoderNames, TrainParams


@dataclass(frozen=True)
class Task:
    """The classes, the features and the settings of training.

    Attributes:
        classes: the classes, in the order of all tables and arrays.
        encoders: the encoders whose features are read.
        train: the section `train`.
    """

    classes: tuple[str, ...]
    encoders: EncoderNames
    train: TrainParams

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities, in order: the encoders, where merged ones count as one modality."""
        return merged_names(self.encoders.all, self.encoders.merged, VISUAL)

    def load(self, project: Project, clip_ids: Sequence[str]) -> Features:
        """Return the features of these clips, one matrix per modality.

        Raises:
            StageError: `load_features` can't read a table of features.
        """
        return load_features(project.features, self.encoders.all, clip_ids).merged(self.encoders.merged, VISUAL)
