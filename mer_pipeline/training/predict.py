"""The stage `predict`: predict all test and pool clips by the selected head, and score where true labels exist.

    members ─mean over folds and seeds─► raw ─temperature─► tempered ─prior shift, if asked for─► shifted

The temperature was fitted out of fold (`calibration.py`) and changes no label. The prior shift (`prior_shift.py`) is
off by default. Besides the modality weights, the table has the importance of each modality (`importance.py`). Each
candidate gets a row: a candidate without any modality gets the training prior and a flag. The true labels are used only
for scores. The stage also writes the submission and the files of two plots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.csv_files import write_csv
from mer_pipeline.base.modalities import Features, Indices, Mask, Matrix
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import PredictParams
from mer_pipeline.metrics.predict import CandidateScores, PredictMetrics
from mer_pipeline.scores.baselines import baselines, shares
from mer_pipeline.scores.bootstrap import units_of
from mer_pipeline.scores.calibration import temper
from mer_pipeline.scores.confusion import Confusion, FloatArray, class_f1
from mer_pipeline.scores.evaluation import final_score, temper_told
from mer_pipeline.scores.importance import leave_one_out
from mer_pipeline.scores.prior_shift import fit_prior, mean_of, shift
from mer_pipeline.scores.score import grouped_score
from mer_pipeline.scores.warnings import about_copies, about_score, about_test, with_warnings
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import write_table
from mer_pipeline.training.artifacts import FUSED, FusionConfig, load_config, predictions_schema
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.predict_target import predict_target
from mer_pipeline.training.scorer import NO_MODALITY, OutOfFold, Scorer, load_known, read_out_of_fold


@dataclass(frozen=True)
class Clips:
    """The clips of the manifest, and what is known of them.

    Attributes:
        ids: the n clips of test and pool, sorted.
        split: the split of each of them.
        group: the group of each clip of the manifest, by its id.
        given: the class index of each labelled training clip, by its id.
        known: the indices of the m candidates whose true label is known.
        true: int64 (m,), their true class indices.
    """

    ids: list[str]
    split: list[str]
    group: dict[str, str]
    given: dict[str, int]
    known: Indices
    true: Indices

    @classmethod
    def read(cls, project: Project, classes: Sequence[str]) -> Clips:
        """Read the manifest and the true labels."""
        rows = pq.read_table(project.manifest, columns=["clip_id", "group", "split", "label"]).to_pylist()
        asked = sorted((row["clip_id"], row["split"]) for row in rows if row["split"] != "train")
        index = {label: c for c, label in enumerate(classes)}
        true_of = {row["clip_id"]: index[row["label"]] for row in pq.read_table(project.truth).to_pylist()}
        known = [i for i, (clip_id, split) in enumerate(asked) if split == "test" and clip_id in true_of]
        return cls(
            ids=[clip_id for clip_id, _ in asked],
            split=[split for _, split in asked],
            group={row["clip_id"]: row["group"] for row in rows},
            given={row["clip_id"]: index[row["label"]] for row in rows if row["split"] == "train" and row["label"]},
            known=np.array(known, dtype=np.int64),
            true=np.array([true_of[asked[i][0]] for i in known], dtype=np.int64),
        )

    def groups(self, clip_ids: Sequence[str]) -> list[str]:
        """Return the group of each clip."""
        return [self.group[clip_id] for clip_id in clip_ids]


@dataclass(frozen=True)
class Final:
    """The final predictions for n clips.

    Attributes:
        raw: float32 (n, C), the mean of the members' probabilities.
        tempered: float32 (n, C), with the temperature.
        by_prior: bool (n,), true where a clip got the training prior.
        shifted: float32 (n, C), with the temperature and the prior shift; None without a shift.
        priors: the shares of the classes that the shift corrects to, float64 (C,), by split.
    """

    raw: Matrix
    tempered: Matrix
    by_prior: Mask
    shifted: Matrix | None = None
    priors: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def written(self) -> Matrix:
        """The probabilities of data/predictions.parquet."""
        return self.tempered if self.shifted is None else self.shifted

    @property
    def deciding(self) -> Matrix:
        """The probabilities whose maximum is the label. The temperature is left out: it could round two to a tie."""
        return self.raw if self.shifted is None else self.shifted

    def shift(self, split: Sequence[str], labelled: OutOfFold, temperature: float) -> Final:
        """Return the predictions with the prior shift, which is fitted to each split alone.

        Args:
            split: the split of each clip.
            labelled: the out-of-fold predictions for the labelled clips.
            temperature: the temperature of the head.
        """
        taken = mean_of(temper(labelled.probabilities[~labelled.by_prior], temperature))
        shifted, priors, where = self.tempered.copy(), dict[str, FloatArray](), np.array(split, dtype=str)
        for name in sorted(set(split)):
            own = ~self.by_prior & (where == name)
            if own.any():
                priors[name] = fit_prior(self.tempered[own], taken)
                shifted[own] = shift(self.tempered[own], taken, priors[name])
        return replace(self, shifted=shifted, priors=priors)


def predict(params: PredictParams, project: Project, progress: Progress = quiet) -> str:
    """Run the stage, and return one line that sums up the result, with a further line for each warning.

    Args:
        params: whether the prior is shifted.
        project: the paths of the tables.
        progress: called after every member, with the number of members that are done and the number of all.

    Raises:
        StageError: a table or a member is missing or does not fit another.
        UsageError: the vectors of a modality have another length than those that the heads were trained on.
    """
    config = load_config(project.fusion)
    if config.predicts.kind != "class":
        return predict_target(config, project, progress)
    clips = Clips.read(project, config.classes)
    n, classes, test, warnings = len(clips.ids), len(config.classes), None, list[str]()
    equal = np.full((n, classes), 1 / classes, dtype=np.float32)
    final = Final(equal, equal, np.zeros(n, dtype=bool))
    weights: list[Matrix | None] = [None] * n
    importance: list[list[float | None] | None] = [None] * n
    flags: list[str | None] = [f"no head: {config.empty}"] * n
    if config.selected is not None:
        selected, features = config.selected, load_known(project, config, clips.ids)
        with fixed_threads():
            scorer = Scorer(project.fusion, config, progress, scored=bool(len(clips.known)))
            chosen = scorer(FUSED, selected, features)
            raw, by_prior = chosen.probabilities.mean(axis=0), chosen.by_prior
            final = Final(raw, temper_told(raw, by_prior, config.temperature), by_prior)
            labelled = read_out_of_fold(project.fusion, config)
            if params.prior == "em":
                final = final.shift(clips.split, labelled, config.temperature)
            weights = [None if prior else row for row, prior in zip(chosen.weights, by_prior, strict=True)]
            left_out = leave_one_out(lambda seen: scorer(FUSED, selected, seen).probabilities.mean(axis=0), features)
            importance = [
                None if prior else [value if there else None for value, there in zip(row.tolist(), mask, strict=True)]
                for row, mask, prior in zip(left_out, features.mask, by_prior, strict=True)
            ]
            flags = [NO_MODALITY if prior else None for prior in by_prior]
            if len(clips.known):
                test = _score(scorer, features, clips, final)
                warnings = _warnings(test, features, clips, labelled, project, config)
    label = final.deciding.argmax(axis=1)
    rows: list[Row] = [
        {
            "clip_id": clip_id,
            "split": clips.split[i],
            "head": config.selected,
            "label": config.classes[int(label[i])],
            "probabilities": final.written[i],
            "weights": weights[i],
            "importance": importance[i],
            "flag": flags[i],
        }
        for i, clip_id in enumerate(clips.ids)
    ]
    schema = predictions_schema(classes, pa.field("split", pa.string(), nullable=False))
    more = [pa.field("importance", pa.list_(pa.float32())), pa.field("flag", pa.string())]
    write_table(project.predictions, to_table(rows, pa.schema([*schema, *more])), {"stage": "predict"})
    candidates = [(row["clip_id"], row["label"]) for row in rows if row["split"] == "test"]
    write_csv(project.submission, ("name", "discrete"), candidates)
    metrics = PredictMetrics(
        selected=config.selected,
        test=test,
        candidates=len(candidates),
        pool=len(rows) - len(candidates),
        flagged=sum(flag is not None for flag in flags),
        priors={
            name: {one: round(float(share), 6) for one, share in zip(config.classes, prior, strict=True)}
            for name, prior in final.priors.items()
        },
        warnings=tuple(warnings),
    )
    metrics.write(project.metrics("predict"))
    pairs = list(zip(clips.true.tolist(), label[clips.known].tolist(), strict=True))
    if test is None and config.selected is not None:
        said = labelled.probabilities.argmax(axis=1).tolist()
        pairs = [(clips.given[clip_id], c) for clip_id, c in zip(labelled.clip_ids, said, strict=True)]
    _write_plots(project, pairs, config.classes)
    return with_warnings(f"predict: {len(candidates)} candidates and {metrics.pool} of the pool", warnings)


def _score(scorer: Scorer, features: Features, clips: Clips, final: Final) -> CandidateScores:
    """Return the scores on the candidates whose true label is known."""
    at, true, classes = clips.known, clips.true, scorer.config.classes
    groups = clips.groups([clips.ids[i] for i in at])
    heads, single = scorer.scores(features.take(at), true, groups)
    prior = shares(np.array(list(clips.given.values()), dtype=np.int64), len(classes))
    selected = final_score(
        true, final.deciding[at], final.raw[at], final.written[at], final.by_prior[at], groups, classes
    )
    return CandidateScores(
        heads=heads,
        single=single,
        selected=selected,
        baselines=baselines(true, np.tile(prior, (len(at), 1)), classes),
        unshifted=None if final.shifted is None else grouped_score(true, [final.raw[at]], units_of(groups)),
    )


def _warnings(
    test: CandidateScores, features: Features, clips: Clips, labelled: OutOfFold, project: Project, config: FusionConfig
) -> list[str]:
    """Return what a reviewer would ask about the scores on the candidates."""
    given = np.array([clips.given[clip_id] for clip_id in labelled.clip_ids], dtype=np.int64)
    out_of_fold = grouped_score(given, [labelled.probabilities], units_of(clips.groups(labelled.clip_ids)))
    seen, judged = load_known(project, config, labelled.clip_ids), [clips.ids[i] for i in clips.known]
    both = seen.and_(features.take(clips.known))
    side = np.repeat([0, 1], [len(seen), len(judged)])
    return [
        *about_copies(both, side, [*labelled.clip_ids, *judged], "on the other side of training and test"),
        *about_score(test.selected, test.baselines, f"{config.selected} on the test"),
        *about_test(out_of_fold, test.selected),
    ]


def _write_plots(project: Project, pairs: list[tuple[int, int]], classes: Sequence[str]) -> None:
    write_csv(project.plots("confusion"), ("actual", "predicted"), [(classes[a], classes[p]) for a, p in pairs])
    actual, predicted = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    f1 = class_f1(Confusion.of(actual, predicted, len(classes)).counts)
    rows = [(name, round(float(f1[c]), 6)) for c, name in enumerate(classes)] if pairs else []
    write_csv(project.plots("per_class"), ("class", "f1"), rows)
