"""Ingest: a dataset's folder to tables. The one place where a dataset's own layout is known.

adapter ─► listing ─► probe every file ─► data/manifest.parquet        every clip, one row
                                          data/transcript/             its words
                                          data/votes/given.parquet     who said what about it
                                          data/truth.parquet           for evaluation only
                                          data/folds.parquet
                                          data/quarantine/ingest.parquet
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from mer_pipeline.clips import GIVEN, MANIFEST_SCHEMA, SPLITS, VOTES_SCHEMA, Clip, Row
from mer_pipeline.datasets.folder import list_folder
from mer_pipeline.datasets.folds import make_folds
from mer_pipeline.datasets.listing import Entry, Listing, Vote, add_groups, add_truth, add_votes
from mer_pipeline.datasets.mer import list_mer
from mer_pipeline.engines.local import stream
from mer_pipeline.errors import ClipError, DatasetError, Skip, StageError
from mer_pipeline.media.container import file_sha256, probe
from mer_pipeline.params import DatasetParams, FoldParams, QualityParams, ShardParams
from mer_pipeline.run import Progress, check_quality, write_problems
from mer_pipeline.runtime import Runtime
from mer_pipeline.store.rows import complete_row, digest, stage_schema, to_table
from mer_pipeline.store.shards import bucket_of, new_folder, write_shard, write_table
from mer_pipeline.transform import Transform

ADAPTERS = {"mer2025": list_mer, "mer2026": list_mer, "folder": list_folder}

TRANSCRIPT_SCHEMA = pa.schema([pa.field("zh", pa.string()), pa.field("en", pa.string())])
TRUTH_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("clip_id", "label")])
FOLD_SCHEMA = pa.schema(
    [pa.field("clip_id", pa.string(), nullable=False), pa.field("fold", pa.int32(), nullable=False)]
)


@dataclass(frozen=True)
class IngestPaths:
    """Where ingest writes."""

    manifest: Path = Path("data/manifest.parquet")
    transcript: Path = Path("data/transcript")
    votes: Path = Path("data/votes/given.parquet")
    truth: Path = Path("data/truth.parquet")
    folds: Path = Path("data/folds.parquet")
    quarantine: Path = Path("data/quarantine/ingest.parquet")
    metrics: Path = Path("metrics/ingest.json")


def list_dataset(params: DatasetParams) -> Listing:
    """Everything that is known of a dataset before a media file is opened.

    Raises:
        DatasetError: the folder or a CSV is not what the adapter reads.
    """
    root = Path(params.root)
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root} (dataset.root); mount it, or set the right path in params.yaml")
    listing = ADAPTERS[params.adapter](params)
    if params.votes is not None:
        add_votes(listing, root / params.votes, params.classes)
    for name in params.truth:
        add_truth(listing, root / name, params.classes)
    add_groups(listing, params.group_pattern)
    given = [Vote(e.clip_id, GIVEN, "human", e.label) for e in listing.entries.values() if e.label is not None]
    listing.votes = sorted([*given, *listing.votes], key=lambda vote: (vote.clip_id, vote.source != GIVEN, vote.source))
    return listing


class ProbeMedia(Transform[Row]):
    """A clip's files to their hashes and headers; nothing is decoded but the first picture.

    A broken file still has a row (its words may be fine), with `problem` set.
    """

    name = "ingest"
    sources = ()
    schema = pa.schema([*MANIFEST_SCHEMA, pa.field("problem", pa.string())])

    def __init__(self, params: DatasetParams) -> None:
        self.params: DatasetParams = params
        self.root = Path(params.root)

    def prepare(self, clip: Clip) -> Row:
        """Hash and probe."""
        listed = clip.need("listing")
        video, audio = (None if listed[key] is None else self.root / str(listed[key]) for key in ("video", "audio"))
        row: dict[str, object] = {name: listed.get(name) for name in self.schema.names}
        row["has_sound"] = False
        try:
            row["video_sha256"] = None if video is None else file_sha256(video)
            row["audio_sha256"] = None if audio is None else file_sha256(audio)
            infos = [probe(place) for place in (video, audio) if place is not None]
        except ClipError as error:
            return {**row, "problem": str(error)}
        if infos:
            first = infos[0]
            row |= {"width": first.width, "height": first.height}
            row |= {"seconds": first.seconds, "frame_rate": first.frame_rate}
            row["has_sound"] = any(info.has_sound for info in infos)
        return row

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)


def ingest(
    dataset: DatasetParams,
    folds: FoldParams,
    shards: ShardParams,
    quality: QualityParams,
    runtime: Runtime,
    paths: IngestPaths,
    progress: Progress = lambda done, total: None,
) -> str:
    """List, probe and write; returns one line that says what was found.

    Raises:
        DatasetError: before any work, when the folder or a CSV is wrong.
        TooManyFailed: more than `quality.max_failed` of the files are broken.
    """
    listing = list_dataset(dataset)
    entries = [listing.entries[name] for name in sorted(listing.entries)]
    rows = _probe(entries, ProbeMedia(dataset), runtime, progress)
    broken = [_problem(str(row["clip_id"]), "BadInput", str(row["problem"])) for row in rows if row["problem"]]
    notes = [_problem(note.clip_id, note.kind, note.message) for note in listing.notes]
    write_problems(paths.quarantine, [*broken, *notes])
    check_quality("ingest", broken, len(rows), quality, paths.quarantine)

    labelled = [(e.clip_id, e.label, e.group or e.clip_id) for e in entries if e.label is not None]
    dealt = make_folds(labelled, folds)
    counts = Counter(entry.split for entry in entries)
    write_table(paths.manifest, to_table(rows, MANIFEST_SCHEMA))
    _write_transcripts(entries, shards, paths.transcript)
    write_table(paths.votes, to_table([asdict(vote) for vote in listing.votes], VOTES_SCHEMA))
    write_table(
        paths.truth, to_table([{"clip_id": k, "label": v} for k, v in sorted(listing.truth.items())], TRUTH_SCHEMA)
    )
    fold_rows = [{"clip_id": k, "fold": v} for k, v in sorted(dealt.of.items())]
    write_table(paths.folds, to_table(fold_rows, FOLD_SCHEMA), {"note": dealt.note})
    metrics = {
        "clips": {split: counts[split] for split in SPLITS},
        "groups": len({entry.group for entry in entries}),
        "folds": dealt.n,
        "folds_asked": folds.n,
        "folds_note": dealt.note,
        "broken": len(broken),
        "notes": len(notes),
    }
    paths.metrics.parent.mkdir(parents=True, exist_ok=True)
    paths.metrics.write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    split = ", ".join(f"{counts[name]} {name}" for name in SPLITS)
    seen = f" (see {paths.quarantine})" if broken or notes else ""
    return f"ingest: {len(rows)} clips ({split}); {len(broken)} broken; {len(notes)} notes{seen}"


def _probe(entries: Sequence[Entry], transform: ProbeMedia, runtime: Runtime, progress: Progress) -> list[Row]:
    clips = (Clip(entry.clip_id, "", {"listing": asdict(entry)}) for entry in entries)
    rows = []
    for outcome in stream(transform, clips, runtime):
        if outcome.row is None:
            raise StageError(f"ingest: '{outcome.clip.clip_id}': {outcome.failed or outcome.skipped}")
        rows.append(outcome.row)
        progress(len(rows), len(entries))
    return sorted(rows, key=lambda row: str(row["clip_id"]))


def _problem(clip_id: str, kind: str, message: str) -> Row:
    return {"clip_id": clip_id, "error": kind, "message": message, "input_digest": digest(message)}


def _write_transcripts(entries: Sequence[Entry], shards: ShardParams, out: Path) -> None:
    schema = stage_schema(TRANSCRIPT_SCHEMA)
    buckets: list[list[Row]] = [[] for _ in range(shards.count)]
    for entry in entries:
        words = {"zh": entry.zh, "en": entry.en}
        silent = entry.zh is None and entry.en is None
        row = complete_row(
            entry.clip_id,
            digest(words),
            None if silent else words,
            "no subtitle" if silent else None,
            TRANSCRIPT_SCHEMA,
        )
        buckets[bucket_of(entry.clip_id, shards.count)].append(row)
    with new_folder(out) as folder:
        for bucket, rows in enumerate(buckets):
            write_shard(folder, bucket, rows, schema, {"transform": "ingest", "shard": str(bucket)})
