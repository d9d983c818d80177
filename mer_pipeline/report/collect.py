"""Read all results that the page shows into frozen dataclasses.

Small columns, such as labels and reasons, are read for all clips. Pictures, sound and words are read later, by
`gallery.py`, and only for the few clips that the gallery shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import StageError
from mer_pipeline.base.kind import outputs_column
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.listing import NOTES
from mer_pipeline.metrics.ablation import AblationMetrics
from mer_pipeline.metrics.labels import LabelMetrics
from mer_pipeline.metrics.predict import PredictMetrics
from mer_pipeline.metrics.pseudo import PseudoMetrics
from mer_pipeline.metrics.train import TrainMetrics
from mer_pipeline.report.bases import Metrics
from mer_pipeline.report.sources import REMEDY, number, numbers, read_rows, text

STAGES = ("frames", "faces", "audio", "transcript", "enriched")


@dataclass(frozen=True)
class ClipFact:
    """A clip of the manifest; `seconds` is its length, or None if it could not be measured."""

    clip_id: str
    group: str
    split: str
    given: str | None
    seconds: float | None


@dataclass(frozen=True)
class Guess:
    """One head's prediction for a clip.

    Attributes:
        head: the name of the head.
        label: the predicted class.
        probabilities: the probability of each class; where numbers are predicted, the numbers.
        weights: the weight of each modality, None for an absent one; empty if the head has none.
        importance: the importance of each modality, None for an absent one; empty if it was not measured.
        flag: a remark on an unusual prediction.
    """

    head: str
    label: str
    probabilities: tuple[float, ...]
    weights: tuple[float | None, ...]
    importance: tuple[float | None, ...] = ()
    flag: str | None = None


@dataclass(frozen=True)
class Refined:
    """The given and the refined label of a training clip, with no fold held out, and the reason and votes as text.

    `suspect` is the class that confident learning finds for the clip, if its given label is suspect.
    """

    clip_id: str
    given: str | None
    label: str
    changed: bool
    reason: str | None
    votes: str | None
    suspect: str | None


@dataclass(frozen=True)
class Problem:
    """A row of the quarantine: a clip that failed in a stage, with its error, or a note of ingest."""

    stage: str
    clip_id: str
    error: str
    message: str

    @property
    def failed(self) -> bool:
        """Whether the clip failed; a note is no failure."""
        return self.stage != "ingest" or self.error not in NOTES


@dataclass(frozen=True)
class Coverage:
    """The number of clips that have a value in a stage's table, and the reasons for the others.

    Attributes:
        stage: the name of the table.
        valid: the number of clips with a value.
        skipped: each reason for a skip with its number of clips, the most frequent first.
        quarantined: the number of clips in the quarantine.
    """

    stage: str
    valid: int
    skipped: tuple[tuple[str, int], ...]
    quarantined: int


@dataclass(frozen=True)
class Facts:
    """All results that the page shows; values about clips are keyed by the clip's id."""

    classes: tuple[str, ...]
    metrics: Metrics
    clips: dict[str, ClipFact]
    truth: dict[str, str]
    labels: dict[str, Refined]
    predictions: dict[str, Guess]
    out_of_fold: dict[str, dict[str, Guess]]  # by head and clip
    coverage: tuple[Coverage, ...]
    problems: tuple[Problem, ...]
    lacking: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by clip, such as "faces: no face"
    fallbacks: tuple[tuple[str, int], ...] = ()  # each reason for a fallback, with its number of clips
    heard: int = 0  # how many clips have words that a recogniser heard
    params: str | None = None
    agreement: LabelMetrics | None = None
    ablation: AblationMetrics | None = None

    def guess(self, clip_id: str) -> Guess | None:
        """Return the selected head's prediction for a clip: its final prediction if there is one, else out-of-fold."""
        if clip_id in self.predictions:
            return self.predictions[clip_id]
        return self.out_of_fold.get(self.metrics.selected or "", {}).get(clip_id)

    def answer(self, clip_id: str) -> str | None:
        """Return the label to compare a prediction with: the true label if it is known, else the given label."""
        return self.truth.get(clip_id) or self.clips[clip_id].given


def collect(project: Project, classes: Sequence[str]) -> Facts:
    """Read a project's tables and metrics.

    Raises:
        StageError: a required file is missing, or a file does not have the form that the stages write.
    """
    train = TrainMetrics.read(project.metrics("train"))
    kind = train.kind
    if kind != "regression" and train.classes != tuple(classes):
        raise StageError(
            f"{project.metrics('train')} is about the classes {', '.join(train.classes)}, params.yaml names "
            f"{', '.join(classes)}; {REMEDY}"
        )
    clips = _clips(project.manifest)
    problems = _problems(project.quarantine_folder)
    coverage, lacking = _coverage(project, train.encoders, problems)
    metrics = Metrics(
        train,
        PredictMetrics.find(project.metrics("predict")),
        PseudoMetrics.find(project.metrics("pseudo")),
    )
    known = set(clips)
    return Facts(
        classes=train.classes,
        metrics=metrics,
        clips=clips,
        truth={
            str(row["clip_id"]): str(row["label"])
            for row in read_rows(project.truth, ["clip_id", "label"])
            if row["clip_id"] in known and (kind != "class" or row["label"] in classes)
        },
        labels=_labels(project.labels, known),
        predictions=_predictions(project.predictions, train, known),
        out_of_fold=_out_of_fold(project.out_of_fold, train, known),
        coverage=coverage,
        problems=problems,
        lacking=lacking,
        fallbacks=_fallbacks(project.table("enriched")),
        heard=sum(bool(row["heard"]) for row in read_rows(project.table("transcript"), ["heard"])),
        params=_text_of(project.params),
        agreement=LabelMetrics.find(project.metrics("labels")),
        ablation=AblationMetrics.find(project.metrics("ablation")),
    )


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _clips(path: Path) -> dict[str, ClipFact]:
    if not path.is_file():
        raise StageError(f"{path} is missing; make it with `dvc repro ingest`")
    facts = (
        ClipFact(str(row["clip_id"]), str(row["group"]), str(row["split"]), text(row["label"]), number(row["seconds"]))
        for row in read_rows(path, ["clip_id", "group", "split", "label", "seconds"])
    )
    return {fact.clip_id: fact for fact in sorted(facts, key=lambda fact: fact.clip_id)}


def _labels(path: Path, known: set[str]) -> dict[str, Refined]:
    columns = ["clip_id", "held_out_fold", "given", "label", "changed", "reason", "votes", "suspect"]
    rows = (
        Refined(
            clip_id=str(row["clip_id"]),
            given=text(row["given"]),
            label=str(row["label"]),
            changed=bool(row["changed"]),
            reason=text(row["reason"]),
            votes=text(row["votes"]),
            suspect=text(row["suspect"]),
        )
        for row in read_rows(path, columns)
        if row["held_out_fold"] == -1 and row["clip_id"] in known
    )
    return {row.clip_id: row for row in sorted(rows, key=lambda row: row.clip_id)}


def _predictions(path: Path, train: TrainMetrics, known: set[str]) -> dict[str, Guess]:
    rows = read_rows(path, ["clip_id", "head", "label", outputs_column(train.kind), "weights", "importance", "flag"])
    return {str(row["clip_id"]): _guess(row, train, path) for row in rows if row["clip_id"] in known}


def _out_of_fold(path: Path, train: TrainMetrics, known: set[str]) -> dict[str, dict[str, Guess]]:
    found: dict[str, dict[str, Guess]] = {}
    for row in read_rows(path, ["clip_id", "head", "label", outputs_column(train.kind), "weights"]):
        if row["clip_id"] in known:
            found.setdefault(str(row["head"]), {})[str(row["clip_id"])] = _guess(row, train, path)
    return found


def _guess(row: Row, train: TrainMetrics, path: Path) -> Guess:
    classes = len(train.classes)
    probabilities = tuple(value or 0.0 for value in numbers(row[outputs_column(train.kind)]))
    if probabilities and len(probabilities) != classes:
        raise StageError(f"{path} has {len(probabilities)} probabilities for {classes} classes; {REMEDY}")
    head, label, flag = text(row["head"]) or "", text(row["label"]) or "", text(row.get("flag"))
    return Guess(head, label, probabilities, numbers(row["weights"]), numbers(row.get("importance")), flag)


def _problems(folder: Path) -> tuple[Problem, ...]:
    found = [
        Problem(_stage(file, folder), str(row["clip_id"]), str(row["error"]), str(row["message"]))
        for file in folder.rglob("*.parquet")
        for row in read_rows(file, ["clip_id", "error", "message"])
    ]
    return tuple(sorted(found, key=lambda problem: (problem.stage, problem.clip_id, problem.message)))


def _stage(file: Path, folder: Path) -> str:
    """Return the name of the stage of a quarantine file, such as `embed-voice` for `embed-voice.parquet`."""
    return file.relative_to(folder).with_suffix("").as_posix()


def _coverage(
    project: Project, encoders: Sequence[str], problems: Sequence[Problem]
) -> tuple[tuple[Coverage, ...], dict[str, tuple[str, ...]]]:
    """Return each table's numbers of valid, skipped and failed clips, and for each clip what failed or is missing."""
    failed = Counter(problem.stage for problem in problems)
    found: list[Coverage] = []
    lacking: dict[str, tuple[str, ...]] = {}
    without_file: set[str] = set()
    for problem in problems:
        if not problem.failed and problem.error != "NoFile":
            continue
        if not problem.failed:
            without_file.add(problem.clip_id)
        what = f"{problem.stage} failed" if problem.failed else "its file"
        lacking[problem.clip_id] = (*lacking.get(problem.clip_id, ()), f"{what}: {problem.message}")
    for stage in (*STAGES, *(f"features/{name}" for name in encoders)):
        rows = read_rows(project.table(stage), ["clip_id", "valid", "reason"])
        skipped = [row for row in rows if not row["valid"]]
        reasons = Counter(text(row["reason"]) or "no reason given" for row in skipped)
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        quarantined = sum(failed[name] for name in {stage, stage.replace("features/", "embed-")})
        if rows or quarantined:
            found.append(Coverage(stage, len(rows) - len(skipped), tuple(ordered), quarantined))
        # If no clip has a value (such as pictures, in a dataset of sound files), no clip is listed as lacking it.
        if stage in ("frames", "faces", "audio", "transcript") and len(skipped) < len(rows):
            for row in skipped:
                clip_id = str(row["clip_id"])
                if clip_id in without_file and stage != "transcript":
                    continue  # it has neither picture nor sound, which is said already
                lacking[clip_id] = (*lacking.get(clip_id, ()), f"{stage}: {text(row['reason']) or 'nothing'}")
    return tuple(found), lacking


def _fallbacks(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return each reason for a fallback with its number of clips, the most frequent first."""
    rows = read_rows(folder, ["status", "why"])
    counts = Counter(text(row["why"]) or "no reason given" for row in rows if row["status"] == "fallback")
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
