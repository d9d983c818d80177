"""Look into every file of a dataset: its hash and its headers; nothing is decoded but the first picture.

What was found is remembered on this machine by the file's size, times and inode (the change time is set by the
system at every write), so that one altered file among 100,000 costs the reading of one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from mer_pipeline.clips import Clip, Row
from mer_pipeline.datasets.listing import Entry
from mer_pipeline.engines.local import stream
from mer_pipeline.errors import BadInput, Skip
from mer_pipeline.media.container import file_sha256, probe
from mer_pipeline.project import Project
from mer_pipeline.runtime import Runtime
from mer_pipeline.section import Section
from mer_pipeline.store.packs import Store
from mer_pipeline.store.row_cache import RowCache
from mer_pipeline.tables.rows import complete_row, digest, to_table
from mer_pipeline.transform import Transform

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
        video, audio = (None if listed[key] is None else self.root / str(listed[key]) for key in ("video", "audio"))
        row: dict[str, object] = dict.fromkeys(self.schema.names)
        row["has_sound"] = False
        try:
            row["video_sha256"] = None if video is None else file_sha256(video)
            row["audio_sha256"] = None if audio is None else file_sha256(audio)
            infos = [probe(place) for place in (video, audio) if place is not None]
        except BadInput as error:
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


def probe_files(
    entries: Sequence[Entry], root: Path, runtime: Runtime, progress: Callable[[int, int], None]
) -> dict[str, Row]:
    """Rows of ProbeMedia's table by clip; what could not be read for other reasons than its content has `problem`.

    Args:
        entries: what is listed.
        root: the dataset's folder.
        runtime: this machine.
        progress: told as files are read.
    """
    transform = ProbeMedia(root)
    cache = RowCache(Store(PLACE), transform, "any")
    keys = _states(entries, root)
    rows = _remembered(cache, keys)
    missing = [entry for entry in entries if entry.clip_id not in rows]
    clips = (Clip(entry.clip_id, keys[entry.clip_id], {"listing": vars(entry)}) for entry in missing)
    fresh: list[Row] = []
    done, saved = 0, time.monotonic()
    try:
        for outcomes in stream(transform, clips, runtime):
            for outcome in outcomes:
                clip_id = outcome.clip.clip_id
                if outcome.row is None:
                    rows[clip_id] = {**dict.fromkeys(transform.schema.names), "problem": str(outcome.failed)}
                else:
                    rows[clip_id] = outcome.row
                    fresh.append(complete_row(clip_id, keys[clip_id], outcome.row, None, transform.schema))
            progress(done := done + len(outcomes), len(missing))
            if time.monotonic() - saved > runtime.store.flush_s:
                cache.keep(to_table(fresh, cache.schema), cache.rows, "0")
                fresh, saved = [], time.monotonic()
    finally:
        cache.keep(to_table(fresh, cache.schema), cache.rows, "0")
        cache.close()
    return rows


def known_files(entries: Sequence[Entry], root: Path) -> dict[str, Row]:
    """The rows of those entries whose files were read before and are unchanged; nothing is read."""
    return _remembered(RowCache(Store(PLACE), ProbeMedia(root), "any"), _states(entries, root))


def _states(entries: Sequence[Entry], root: Path) -> dict[str, str]:
    absolute = str(root.absolute())
    return {entry.clip_id: _state(entry, absolute) for entry in entries}


def _remembered(cache: RowCache, keys: Mapping[str, str]) -> dict[str, Row]:
    known = cache.knows(list(keys.values()))
    found = [clip_id for clip_id, is_known in zip(keys, known, strict=True) if is_known]
    table = cache.read(found, [keys[clip_id] for clip_id in found])
    # A damaged pack is no loss: the files are read again.
    return {} if table is None else {str(row["clip_id"]): row for row in table.to_pylist()}


def _state(entry: Entry, root: str) -> str:
    """Digest of a clip's paths and of what the file system says of them."""
    states: dict[str, list[object]] = {}
    for kind, name in (("video", entry.video), ("audio", entry.audio)):
        if name is not None:
            path = f"{root}/{name}"
            try:
                of = os.stat(path)
                states[kind] = [path, of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino]
            except OSError:
                states[kind] = [path]
    return digest(states)
