"""Look into every file of a dataset: its hash, its headers and how it begins.

What was found is remembered on this machine by the file's size, times and inode (the change time is set by the
system at every write), so that one altered file among 100,000 costs the reading of one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.base.run import compute
from mer_pipeline.base.runs import Progress, Summary
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.project import Project
from mer_pipeline.config.section import Section
from mer_pipeline.datasets.listing import Entry
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.media.container import file_sha256, probe
from mer_pipeline.media.content import sound_opening
from mer_pipeline.store.inputs import Keys
from mer_pipeline.store.row_cache import RowCache
from mer_pipeline.store.store import Store
from mer_pipeline.tables.rows import digest

KINDS = ("video", "audio", "faces")  # of a clip's files
PLACE = str(Project().state / "files")  # never shared: inodes and times are of this machine


class ProbeMedia(Transform[Row]):
    """A clip's files to their hashes and headers.

    A broken file still has a row (its words may be fine), with `problem` set.
    """

    name = "probe"
    sources = ()
    schema = pa.schema(
        [
            pa.field("video_sha256", pa.string()),
            pa.field("audio_sha256", pa.string()),
            pa.field("faces_sha256", pa.string()),
            pa.field("opening", pa.string()),  # digest of the first picture, or of the first second of sound
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("seconds", pa.float64()),
            pa.field("frame_rate", pa.float64()),
            pa.field("has_sound", pa.bool_()),
            pa.field("problem", pa.string()),
        ]
    )

    params = Section()  # what a file says of itself depends on none

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, clip: Clip) -> Row:
        """Hash and probe."""
        listed = clip.need("listing")
        places = {kind: self.root / str(listed[kind]) for kind in KINDS if listed[kind] is not None}
        media = [places[kind] for kind in ("video", "audio") if kind in places]
        row: dict[str, object] = dict.fromkeys(self.schema.names)
        row["has_sound"] = False
        try:
            row |= {f"{kind}_sha256": file_sha256(place) for kind, place in places.items()}
            infos = [probe(place) for place in media]
        except BadInput as error:
            return {**row, "problem": str(error)}
        if infos:
            first = infos[0]
            row |= {"width": first.width, "height": first.height}
            row |= {"seconds": first.seconds, "frame_rate": first.frame_rate}
            row["has_sound"] = any(info.has_sound for info in infos)
            row["opening"] = first.opening or sound_opening(media[0])
        return row

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)


def look(
    transform: Transform[Row], entries: Sequence[Entry], root: Path, runtime: Runtime, progress: Progress
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Rows of a transform over files, and failures as rows of PROBLEM_SCHEMA.

    Args:
        transform: reads the listing alone.
        entries: what is listed.
        root: the dataset's folder.
        runtime: this machine.
        progress: told as files are read.

    Returns:
        Both by clip.

    Raises:
        Bug: as `run`.
    """
    cache = RowCache(Store(PLACE), transform, "any", flush_s=runtime.store.flush_s)
    keys, by_name = _keys(entries, root), {entry.clip_id: entry for entry in entries}

    def clips_of(keys: Keys, wanted: Collection[str]) -> Iterator[Clip]:
        for clip_id, key in zip(keys.clip_ids, keys.input_digests, strict=True):
            if clip_id in wanted:
                yield Clip(clip_id, key, {"listing": vars(by_name[clip_id])})

    engine, summary, table = LocalEngine(transform, runtime), Summary(transform.name), None
    while table is None:  # once, unless a pack turns out to be damaged
        for _ in compute(engine, cache, [keys], clips_of, summary=summary, progress=progress, first=runtime.batch):
            failures = cache.failures(keys)
            table = cache.table(keys.without(failures))
    cache.close()
    return {str(row["clip_id"]): row for row in table.to_pylist()}, failures


def known_files(entries: Sequence[Entry], root: Path) -> dict[str, Row]:
    """The rows of those entries whose files were read before and are unchanged; nothing is read."""
    cache, keys = RowCache(Store(PLACE), ProbeMedia(root), "any"), _keys(entries, root)
    table = cache.table(keys.without(set(cache.missing(keys))))
    # A damaged pack is no loss: the files are read again.
    return {} if table is None else {str(row["clip_id"]): row for row in table.to_pylist()}


def _keys(entries: Sequence[Entry], root: Path) -> Keys:
    absolute = str(root.absolute())
    return Keys(0, [entry.clip_id for entry in entries], [_state(entry, absolute) for entry in entries])


def _state(entry: Entry, root: str) -> str:
    """Digest of a clip's paths and of what the file system says of them."""
    states: dict[str, list[object]] = {}
    for kind in KINDS:
        name = getattr(entry, kind)
        if name is not None:
            path = f"{root}/{name}"
            try:
                of = os.stat(path)
                states[kind] = [path, of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino]
            except OSError:
                states[kind] = [path]
    return digest(states)
