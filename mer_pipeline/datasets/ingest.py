"""The stage `ingest`: from the folder of a dataset to tables. Later stages do not know how the dataset is laid out.

adapter ─► listing ─► probe every file ─► data/manifest.parquet        one row for every clip
                                          data/clips.parquet           the ids alone; a new label does not change it
                                          data/subtitles/              the words that the dataset has of each clip
                                          data/votes/given.parquet     the given labels and other annotators' votes
                                          data/truth.parquet           true labels, for evaluation only
                                          data/folds.parquet           the fold of each labelled clip
                                          data/quarantine/ingest.parquet    broken files and notes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from mer_pipeline.base.clips import GIVEN, GIVEN_FACES, MANIFEST_SCHEMA, SPLITS, Row, votes_schema
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.target import Target
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import DatasetParams, make_adapter
from mer_pipeline.datasets.duplicates import DigestContent, alike, copies, notes_on
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.datasets.listing import Entry, Listing, Vote, about_unread, add_groups, add_truth, add_votes
from mer_pipeline.datasets.probe import KINDS, PLACE, ProbeMedia, known_files, look
from mer_pipeline.media.container import UNREAD
from mer_pipeline.metrics.ingest import IngestMetrics
from mer_pipeline.tables.quarantine import QualityParams, check_quality, problem_row, write_problems
from mer_pipeline.tables.rows import digest, stage_schema, to_table
from mer_pipeline.tables.shards import ShardParams, new_folder, shard_of, write_shard, write_table
from mer_pipeline.tables.transcript import SCHEMA as TRANSCRIPT_SCHEMA
from mer_pipeline.tables.transcript import transcript_row

TRUTH_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("clip_id", "label")])
FOLD_SCHEMA = pa.schema(
    [pa.field("clip_id", pa.string(), nullable=False), pa.field("fold", pa.int32(), nullable=False)]
)


@dataclass(frozen=True)
class IngestParams:
    """The sections of params.yaml that the stage `ingest` reads."""

    dataset: DatasetParams
    folds: FoldParams
    shards: ShardParams
    quality: QualityParams


def list_dataset(params: DatasetParams) -> Listing:
    """List a dataset: its clips, votes, true labels and groups. No media file is opened.

    Raises:
        DatasetError: if the folder is missing, or the folder or a CSV is not what the adapter reads.
    """
    root = Path(params.root)
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root} (dataset.root); mount it, or set the right path in params.yaml")
    listing = make_adapter(params).listing()
    if params.votes is not None:
        add_votes(listing, root / params.votes, params.classes)
    for name in params.truth:
        add_truth(listing, root / name, params.predicts)
    add_groups(listing, params.group_pattern, params.order_pattern)
    _check_labels(listing, params.predicts)
    listing.note_unread()
    given = [Vote(e.clip_id, GIVEN, "human", e.label) for e in listing.entries.values() if e.label is not None]
    listing.votes = sorted(
        [*given, *listing.votes],
        key=lambda vote: (vote.clip_id, vote.source != GIVEN, vote.source, vote.worker or "", vote.label),
    )
    return listing


def _check_labels(listing: Listing, target: Target) -> None:
    """Check that an adapter, which may be a user's own, gives labels of the target.

    Raises:
        DatasetError: a label is of another target.
    """
    if target.kind != "class":
        for name, label in (*((e.clip_id, e.label) for e in listing.entries.values()), *listing.truth.items()):
            if label is not None:
                cells = zip(target.columns("label"), target.cells(label), strict=False)
                target.read(dict(cells), "label", f"the adapter's label of '{name}'")


@dataclass(frozen=True)
class Ahead:
    """What the stage `ingest` would write, as far as it is known before any media file is opened.

    Attributes:
        manifest: the manifest; a clip in `unread` has nulls in the columns that are read from its files.
        unread: the clips whose files are new or altered.
        subtitles: the row of each clip in the table `subtitles`.
    """

    manifest: pa.Table
    unread: frozenset[str]
    subtitles: Mapping[str, Row]


def look_ahead(dataset: DatasetParams) -> Ahead:
    """List a dataset, and look up which of its files were read before and are unchanged.

    Raises:
        DatasetError: as for `ingest`.
    """
    listing = list_dataset(dataset)
    entries = [listing.entries[name] for name in sorted(listing.entries)]
    known = known_files(entries, Path(dataset.root))
    unread = frozenset(entry.clip_id for entry in entries if entry.clip_id not in known)
    nothing: Row = dict.fromkeys(ProbeMedia.schema.names)
    rows = [_manifest_row(entry, known.get(entry.clip_id, nothing)) for entry in entries]
    schema = manifest_schema(entries)
    subtitles = {entry.clip_id: transcript_row(entry.clip_id, entry.zh, entry.en) for entry in entries}
    return Ahead(to_table(rows, schema), unread, subtitles)


def ingest(
    params: IngestParams,
    project: Project,
    runtime: Runtime,
    progress: Progress = quiet,
) -> str:
    """Run the stage: list the dataset, read the headers of its files, and write the tables.

    Args:
        params: the sections of params.yaml.
        project: where the tables are written.
        runtime: the settings of this machine.
        progress: is told how many files have been read.

    Returns:
        One line that says what was found.

    Raises:
        DatasetError: if the folder or a CSV is wrong; nothing is written then.
        TooManyFailed: if the share of clips with broken files is larger than `quality.max_failed`.
    """
    return ingest_listing(list_dataset(params.dataset), params, project, runtime, progress)


def ingest_listing(
    listing: Listing,
    params: IngestParams,
    project: Project,
    runtime: Runtime,
    progress: Progress = quiet,
    place: str = PLACE,
) -> str:
    """Do all of `ingest` but list the dataset, whose listing is given.

    Args:
        listing: the clips. Paths of their files are relative to `params.dataset.root`.
        params, project, runtime, progress: as for `ingest`.
        place: as for `look`.

    Returns:
        As `ingest`.

    Raises:
        TooManyFailed: as for `ingest`.
    """
    entries, root = [listing.entries[name] for name in sorted(listing.entries)], Path(params.dataset.root)
    probed, failures = look(ProbeMedia(root), entries, root, runtime, progress, place)
    content, _ = look(DigestContent(root), alike(entries, probed), root, runtime, quiet, place)
    same = copies(entries, probed, content)
    listing.notes += notes_on(same, listing.entries, listing.truth)
    nothing: Row = dict.fromkeys(ProbeMedia.schema.names)
    rows = [_manifest_row(entry, probed.get(entry.clip_id, nothing)) for entry in entries]
    problems = ((clip_id, row["problem"]) for clip_id, row in probed.items() if row["problem"])
    broken = [*(_problem(clip_id, "BadInput", str(problem)) for clip_id, problem in problems), *failures.values()]
    notes = [_problem(note.clip_id, note.kind, note.message) for note in listing.notes]
    quarantine = project.quarantine("ingest")
    write_problems(quarantine, [*broken, *notes])
    check_quality("ingest", broken, len(rows), params.quality, quarantine)

    labelled = [(e.clip_id, e.label, e.group or e.clip_id) for e in entries if e.label is not None]
    target = params.dataset.predicts
    dealt = make_folds(labelled, params.folds, same, target)
    counts = Counter(entry.split for entry in entries)
    manifest = to_table(rows, manifest_schema(entries))
    write_table(project.manifest, manifest)
    write_table(project.clips, manifest.select(["clip_id"]))
    _write_subtitles(entries, params.shards, project.table("subtitles"))
    votes = [asdict(vote) for vote in listing.votes]
    write_table(project.given, to_table(votes, votes_schema(votes)))
    true_rows = [{"clip_id": k, "label": v} for k, v in sorted(listing.truth.items())]
    write_table(project.truth, to_table(true_rows, TRUTH_SCHEMA))
    fold_rows = [{"clip_id": k, "fold": v} for k, v in sorted(dealt.of.items())]
    write_table(project.folds, to_table(fold_rows, FOLD_SCHEMA), {"note": dealt.note, **target.footer()})
    metrics = IngestMetrics(
        clips={split: counts[split] for split in SPLITS},
        groups=len({entry.group for entry in entries}),
        folds=dealt.n,
        folds_asked=params.folds.n,
        folds_note=dealt.note,
        broken=len(broken),
        notes=len(notes),
    )
    metrics.write(project.metrics("ingest"))
    split = ", ".join(f"{counts[name]} {name}" for name in SPLITS)
    absent = f", {len(listing.without_file)} of them without a file" if listing.without_file else ""
    seen = " (`mer quarantine list ingest`)" if broken or notes else ""
    unread = f"; {about_unread(listing.unread)}" if listing.unread else ""
    return f"ingest: {len(rows)} clips ({split}){absent}; {len(broken)} broken; {len(notes)} notes{seen}{unread}"


def manifest_schema(entries: Sequence[Entry]) -> pa.Schema:
    """Of the manifest: with the columns of faces where the dataset brings some."""
    faces = GIVEN_FACES if any(entry.faces is not None for entry in entries) else ()
    return pa.schema([*MANIFEST_SCHEMA, *faces])


def _manifest_row(entry: Entry, probed: Row) -> Row:
    listed = vars(entry)
    names = (*MANIFEST_SCHEMA.names, *(column.name for column in GIVEN_FACES))
    row = {name: probed[name] if name in probed else listed.get(name) for name in names}
    # A file that could not be read is not the same as none: nothing may be remembered of the one for the other.
    unread = {f"{kind}_sha256": UNREAD for kind in KINDS if row[kind] and not row[f"{kind}_sha256"]}
    return {**row, **unread, "has_sound": bool(row["has_sound"])}


def _problem(clip_id: str, kind: str, message: str) -> Row:
    return problem_row(clip_id, kind, message, digest(message))


def _write_subtitles(entries: Sequence[Entry], shards: ShardParams, out: Path) -> None:
    schema = stage_schema(TRANSCRIPT_SCHEMA)
    rows_of: list[list[Row]] = [[] for _ in range(shards.count)]
    for entry in entries:
        row = transcript_row(entry.clip_id, entry.zh, entry.en)
        rows_of[shard_of(entry.clip_id, shards.count)].append(row)
    with new_folder(out) as folder:
        for shard, rows in enumerate(rows_of):
            write_shard(folder, shard, rows, schema, {"transform": "ingest", "shard": str(shard)})
