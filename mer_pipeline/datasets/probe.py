"""Read the hash, the header and the beginning of every media file of a dataset.

The results are stored on this machine under the file's path, size, times and inode number. The system sets the change
time at every write, so that an altered file is noticed. If one of 100,000 files is altered, only this one is read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import BadInput, ClipError, Skip
from mer_pipeline.base.run import compute
from mer_pipeline.base.runs import Progress, Summary
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.project import Project
from mer_pipeline.config.section import Section
from mer_pipeline.datasets.listing import Entry, media_of
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.media.container import file_sha256
from mer_pipeline.media.content import sound_opening
from mer_pipeline.media.probe import probe
from mer_pipeline.store.inputs import Keys
from mer_pipeline.store.row_cache import RowCache
from mer_pipeline.store.store import Store
from mer_pipeline.tables.rows import digest

KINDS = ("video", "audio", "faces")  # of a clip's files
PLACE = str(Project().state / "files")  # never shared: inode numbers and times belong to this machine


class ProbeMedia(Transform[Row]):
    """The transform from a clip's files to their hashes and headers.

    A clip with a broken file has a row too, because its transcript may be used. The column `problem` says what is
    wrong.
    """

    name = "probe"
    decodes = True
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

    params = Section()  # none: the header of a file does not depend on any params

    def __init__(self, root: Path) -> None:
        self.root = root

    def media(self, clip: Clip) -> Sequence[Path]:
        """Return the video and the sound file, as far as there are any."""
        return media_of(clip, self.root)

    def prepare(self, clip: Clip) -> Row:
        """Compute the hashes of the clip's files and read their headers.

        Raises:
            Transient: if a file is missing or the disk failed.
        """
        row, media = self._hashes(clip), self.media(clip)
        try:
            infos = [probe(place) for place in media]
        except BadInput as error:
            return {**row, "problem": str(error)}
        if infos:
            first = infos[0]
            row |= {"width": first.width, "height": first.height}
            row |= {"seconds": first.seconds, "frame_rate": first.frame_rate}
            row["has_sound"] = any(info.has_sound for info in infos)
            row["problem"] = next((info.problem for info in infos if info.problem), None)
            row["opening"] = first.opening or sound_opening(media[0])
        return row

    def given_up(self, clip: Clip, error: ClipError) -> Row:
        """Return the row of a broken file, which is hashed and not opened again.

        Raises:
            Transient: `error`, if the file need not be the cause; or the file cannot be read any more.
        """
        if not isinstance(error, BadInput):
            raise error
        return {**self._hashes(clip), "problem": str(error)}

    def _hashes(self, clip: Clip) -> dict[str, object]:
        """Return a row that has the hashes of the files, and nothing else."""
        listed, row = clip.need("listing"), dict.fromkeys(self.schema.names)
        for kind in KINDS:
            if listed[kind] is not None:
                row[f"{kind}_sha256"] = file_sha256(self.root / str(listed[kind]))
        return {**row, "has_sound": False}

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)


def look(
    transform: Transform[Row],
    entries: Sequence[Entry],
    root: Path,
    runtime: Runtime,
    progress: Progress,
    place: str = PLACE,
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Compute the rows of a transform over files that are new or altered, and look up those of the others.

    Args:
        transform: a transform that reads the listing alone.
        entries: the clips with their files.
        root: the folder of the dataset.
        runtime: the settings of this machine.
        progress: is told how many files have been read.
        place: the folder in which the rows are stored.

    Returns:
        The rows of the transform by clip; and the failures by clip, as rows of PROBLEM_SCHEMA. A failure has other
        reasons than the content of a file, such as a missing file.

    Raises:
        Bug: as for `run`.
    """
    if not entries:
        return {}, {}
    cache = RowCache(Store(place), transform, "any", flush_s=runtime.store.flush_s)
    keys, by_name = _keys(entries, root), {entry.clip_id: entry for entry in entries}

    def clips_of(keys: Keys, wanted: Collection[str]) -> Iterator[Clip]:
        for clip_id, key in zip(keys.clip_ids, keys.input_digests, strict=True):
            if clip_id in wanted:
                yield Clip(clip_id, key, {"listing": vars(by_name[clip_id])})

    engine, summary, table = LocalEngine(transform, runtime), Summary(transform.name), None
    while table is None:  # a second time only if a pack turns out to be damaged
        for _ in compute(engine, cache, [keys], clips_of, summary=summary, progress=progress, first=runtime.batch):
            failures = cache.failures(keys)
            table = cache.table(keys.without(failures))
    cache.close()
    return {str(row["clip_id"]): row for row in table.to_pylist()}, failures


def known_files(entries: Sequence[Entry], root: Path) -> dict[str, Row]:
    """Look up the rows of those clips whose files were read before and are unchanged. No media file is opened."""
    cache, keys = RowCache(Store(PLACE), ProbeMedia(root), "any"), _keys(entries, root)
    table = cache.table(keys.without(set(cache.missing(keys))))
    # If a pack is damaged, nothing is known: the files are read again.
    return {} if table is None else {str(row["clip_id"]): row for row in table.to_pylist()}


def _keys(entries: Sequence[Entry], root: Path) -> Keys:
    absolute = str(root.absolute())
    return Keys(0, [entry.clip_id for entry in entries], [_state(entry, absolute) for entry in entries])


def _state(entry: Entry, root: str) -> str:
    """Return a digest of the paths of a clip's files and of their sizes, times and inode numbers."""
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
