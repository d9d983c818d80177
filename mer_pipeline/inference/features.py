"""Compute what the trained heads read of any files, in a scratch project, by the steps of the stages.

    files ─► listing ─► manifest ─► frames, audio ─► transcript ─► tracks, faces ─► enriched ─► features/NAME

The scratch project is a temporary folder. Its tables have one row for each file, and only those tables are made that
the encoders read. Rows are taken from the store and kept there, so that a file that was seen before costs nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mer_pipeline.base.clips import GIVEN_FACES
from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.transform import ExternalTable
from mer_pipeline.config import steps
from mer_pipeline.config.params import Params
from mer_pipeline.config.project import WRITTEN, Project
from mer_pipeline.config.section import Section
from mer_pipeline.config.steps import Step
from mer_pipeline.datasets.folder import is_chinese
from mer_pipeline.datasets.ingest import IngestParams, ingest_listing
from mer_pipeline.datasets.listing import Entry, Listing, mend
from mer_pipeline.media.container import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from mer_pipeline.media.files import UNREAD_SUFFIXES
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.enrich import EnrichSteps, enrich
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.stage.rows import StepRunner
from mer_pipeline.stage.transcribe import transcribe
from mer_pipeline.store.fingerprint import changed_parts
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, provenance_of, read_parquet, shard_name

ROOT = "/"  # of the listing: files may lie anywhere
ONE_SHARD = ShardParams(count=1)
ANY_MAY_FAIL = QualityParams(max_failed=1.0)
# Tables that are no steps, with what they are made of.
DERIVED = {"transcript": ("subtitles", "heard"), "cue_words": ("cues", "transcript")}
# Parts of a fingerprint that belong to a machine. Their effect on values is within the tolerance of docs/numerics.md.
OF_MACHINE = ("device", "rows", "threads", "python", "library.")


@dataclass(frozen=True)
class Computed:
    """What was computed of some files.

    Attributes:
        project: the scratch project.
        ids: the names of the files of which anything could be computed, sorted.
        problems: for each file that is broken as a whole or in part, the reasons.
        changed: the steps that made other rows when the heads were trained, each with the parts that have changed.
    """

    project: Project
    ids: list[str]
    problems: dict[str, list[str]]
    changed: dict[str, list[str]]


def params_of_files(params: Params) -> Params:
    """Return the params of a scratch project: those of the dataset's project, with files from anywhere."""
    dataset = params.dataset.model_copy(update={"root": ROOT, "csv": ROOT})
    return params.model_copy(update={"dataset": dataset, "shards": ONE_SHARD, "quality": ANY_MAY_FAIL})


def compute_features(
    files: Iterable[str],
    words: Mapping[str, str],
    needed: Mapping[str, Step],
    params: Params,
    runtime: Runtime,
    project: Project,
    folder: Path,
) -> Computed:
    """Compute the vectors of some files by some encoders, and the words that are said.

    A file is described like a clip of a new speaker in the project's dataset: its voice and face are compared with what
    is usual for all clips of the dataset, and not with the other files.

    Args:
        files: paths of films and sounds, without duplicates; they are also the names of the clips.
        words: what is said in those files for which it is known.
        needed: the steps, as `steps_for` returns them.
        params: those of `params_of_files`.
        runtime: the settings of this machine.
        project: the project whose heads were trained.
        folder: an empty folder for the scratch project.

    Raises:
        MerError: as in `StepRunner`.
    """
    listing, problems = list_files(files, words)
    scratch = Project(folder)
    if not listing.entries:
        return Computed(scratch, [], problems, {})
    read = IngestParams(params.dataset, params.folds, params.shards, params.quality)
    ingest_listing(listing, read, scratch, runtime, progress_bar("ingest"), place=str(scratch.state / "files"))
    run = StepRunner(scratch, params.shards, params.quality, runtime, record=False)
    _run_if(needed, run, "frames", "audio")
    transcribe(params.transcript, steps.heard(params), run)
    _run_if(needed, run, "tracks", "faces")
    if "enriched" in needed:
        replies = partial(steps.replies, params)
        each = EnrichSteps(steps.cues(), steps.prompts(params), replies, steps.enriched(params))
        enrich(params.enrich, each, run, population=project)
    _run_if(needed, run, *(table for table in needed if table.startswith("features/")))
    for step in needed.values():
        for row in read_parquet(scratch.quarantine(step.name), ["clip_id", "message"]).to_pylist():
            found = problems.setdefault(row["clip_id"], [])
            found += [] if row["message"] in found else [row["message"]]
    changed = {step.name: _changed(scratch.table(step.table), project.table(step.table)) for step in needed.values()}
    ids = sorted(listing.entries)
    return Computed(scratch, ids, problems, {name: parts for name, parts in changed.items() if parts})


def _run_if(needed: Mapping[str, Step], run: StepRunner, *tables: str) -> None:
    for table in tables:
        if table in needed:
            run(needed[table])


def list_files(files: Iterable[str], words: Mapping[str, str]) -> tuple[Listing, dict[str, list[str]]]:
    """List files as the clips of a dataset whose root is the file system's.

    Args:
        files: paths of files.
        words: what is said in those files for which it is known.

    Returns:
        The listing; and for each file that cannot be listed, the reason.
    """
    listing, problems = Listing(), dict[str, list[str]]()
    for name in files:
        path = Path(name)
        if reason := _why_not(path):
            problems[name] = [reason]
            continue
        kind = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "audio"
        said = words.get(name)
        language = "zh" if said is not None and is_chinese(said) else "en"
        place = os.path.relpath(path.absolute(), ROOT)
        listing.entries[name] = Entry(name, group=name, **{kind: place, language: said})  # type: ignore[arg-type]
    return listing, problems


def steps_for(encoders: Iterable[str], params: Params) -> dict[str, Step]:
    """Return the steps that make the features of some encoders and the transcript, by table, in order.

    Raises:
        UsageError: one of them reads what was made elsewhere, which files do not have.
    """
    names = tuple(encoders)
    _check_inputs(params, names)
    tables = {f"features/{name}" for name in names}
    needed = dict[str, Step]()
    for step in reversed([one for one in steps.steps(params) if not one.table.startswith("votes/")]):
        tables |= {part for table in tables for part in DERIVED.get(table, ())} | {*DERIVED["transcript"]}
        if step.table not in tables:
            continue
        sources = step.make().sources
        given = {column.name for column in GIVEN_FACES}
        if any(isinstance(one, ExternalTable) or given & {*one.columns, *one.locators} for one in sources):
            raise UsageError(
                f"'{step.name}' reads what was made elsewhere for the clips of the dataset, so the heads cannot "
                "predict other files; train them without it (`train.features` in params.yaml)"
            )
        tables |= {source.table for source in sources}
        needed[step.table] = step
    return dict(reversed(needed.items()))


def check_checkpoints(encoders: Iterable[str], needed: Mapping[str, Step], params: Params) -> None:
    """Check that the checkpoints that are used are those in models.lock.

    Raises:
        CheckpointError: as in `check_locked`.
    """
    used: Mapping[str, Section] = {name: params.encoders[name] for name in encoders}
    faces = params.faces if "tracks" in needed else Section()
    enriched = params.enrich if "enriched" in needed else Section()
    check_locked(checkpoints_of(used, transcript=params.transcript.used, faces=faces, enrich=enriched))


def _check_inputs(params: Params, encoders: Iterable[str]) -> None:
    for name in encoders:
        if name not in params.encoders:
            raise UsageError(
                f"the heads were trained with the encoder '{name}', which params.yaml does not have; add it again, or "
                "train without it by `dvc repro`"
            )
        if params.encoders[name].input.partition("/")[0] not in WRITTEN:
            raise UsageError(
                f"the encoder '{name}' reads external features, which other files do not have, so the heads cannot "
                "predict them; train without it (`train.features` in params.yaml)"
            )


def _why_not(path: Path) -> str | None:
    """Return why a path is no film or sound that can be listed; None if it is one."""
    suffix = path.suffix.lower()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "the file's name is not UTF-8; rename it (try convmv)"
    if path.is_dir():
        return "it is a folder; name the files in it"
    if not path.is_file():
        return "there is no such file"
    if suffix in UNREAD_SUFFIXES:
        return f"files of this kind are not read: {mend(str(path))}"
    if suffix not in VIDEO_SUFFIXES | AUDIO_SUFFIXES:
        known = " ".join(sorted(VIDEO_SUFFIXES | AUDIO_SUFFIXES))
        return f"its name does not end like that of a film or sound ({known})"
    return None


def _changed(now: Path, trained: Path) -> list[str]:
    """Return the parts of a step's fingerprint that were others when the project's own table was made."""
    part = trained / shard_name(0)
    if not part.is_file():
        return []
    before, after = (json.loads(provenance_of(one).get("parts", "{}")) for one in (part, now / shard_name(0)))
    if not before:  # no step made this table then
        return ["all"]
    return [name for name in changed_parts(before, after) if not name.startswith(OF_MACHINE)]
