"""Clips that are in a dataset more than once, under different names.

Copies in two folds let a head be scored on what it has learnt by heart. So copies stay in one fold, and a person is
told of those that groups, splits or labels tell apart. Two clips are copies where they have a file in common, byte for
byte, or where all that they show and play is equal after decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.section import Section
from mer_pipeline.datasets.folds import joined
from mer_pipeline.datasets.listing import Entry, Note, media_of
from mer_pipeline.media.container import MAX_SECONDS
from mer_pipeline.media.content import pictures_digest, sound_digests

KIND: Final = "Copies"  # of the notes


class DigestContent(Transform[Row]):
    """The transform from a clip's pictures and sound to their digests. `prepare` does all the work."""

    name = "content"
    decodes = True
    sources = ()
    schema = pa.schema([pa.field(name, pa.string()) for name in ("pictures", "sound", "packed")])
    params = Section()  # what a file shows depends on none

    def __init__(self, root: Path) -> None:
        self.root = root

    def media(self, clip: Clip) -> Sequence[Path]:
        """Return the video and the sound file, as far as there are any."""
        return media_of(clip, self.root)

    def prepare(self, clip: Clip) -> Row:
        """Decode all pictures and all sound of a clip."""
        listed = clip.need("listing")
        video, audio = (None if listed[key] is None else self.root / str(listed[key]) for key in ("video", "audio"))
        heard = audio or video
        sound = None if heard is None else sound_digests(heard, MAX_SECONDS)
        row = dict(zip(("sound", "packed"), sound or (None, None), strict=True))
        return {"pictures": None if video is None else pictures_digest(video), **row}

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)


def alike(entries: Sequence[Entry], probed: Mapping[str, Row]) -> list[Entry]:
    """The entries whose files begin as other files do: those whose whole content is worth a look, each content once.

    Args:
        entries: what is listed.
        probed: rows of `ProbeMedia`, by clip.
    """
    by_opening = _by_key((entry.clip_id, (probed.get(entry.clip_id) or {}).get("opening")) for entry in entries)
    wanted: set[str] = set()
    for clip_ids in by_opening:
        # Of files that are equal byte for byte, one stands for all.
        files = {tuple(probed[one][f"{kind}_sha256"] for kind in ("video", "audio")): one for one in clip_ids}
        wanted.update(files.values() if len(files) > 1 else ())
    return [entry for entry in entries if entry.clip_id in wanted]


def copies(entries: Sequence[Entry], probed: Mapping[str, Row], content: Mapping[str, Row]) -> list[list[str]]:
    """The sets of clips that are copies of each other, each sorted.

    Args:
        entries: what is listed.
        probed: rows of `ProbeMedia`, by clip; broken files are copies of nothing.
        content: rows of `DigestContent`, by clip.
    """
    sound = {clip_id: row for clip_id, row in probed.items() if not row["problem"]}
    keys: list[tuple[str, object]] = []
    for entry in entries:
        row, seen = sound.get(entry.clip_id, {}), content.get(entry.clip_id, {})
        keys += [(entry.clip_id, row.get(f"{kind}_sha256")) for kind in ("video", "audio", "faces")]
        if seen.get("pictures") or seen.get("sound"):
            keys += [(entry.clip_id, (kind, seen["pictures"], seen[kind])) for kind in ("sound", "packed")]
    return joined(_by_key(keys))


def notes_on(sets: Sequence[Sequence[str]], entries: Mapping[str, Entry], truth: Mapping[str, str]) -> list[Note]:
    """A note on each set of copies whose groups, splits or labels differ.

    Args:
        sets: of `copies`.
        entries: by clip.
        truth: true labels, by clip; they count where a clip has no other.
    """
    notes = []
    for names in sets:
        members = [entries[name] for name in names]
        told = {
            "groups": {entry.group or entry.clip_id for entry in members},
            "splits": {entry.split for entry in members},
            "labels": {label for entry in members if (label := entry.label or truth.get(entry.clip_id)) is not None},
        }
        apart = [f"{what} ({', '.join(sorted(values))})" for what, values in told.items() if len(values) > 1]
        if apart:
            shown = " and ".join(f"'{name}'" for name in names)
            notes.append(
                Note(names[0], KIND, f"{shown} are copies of one clip, and differ in their {', '.join(apart)}")
            )
    return notes


def _by_key(pairs: Iterable[tuple[str, object]]) -> list[list[str]]:
    """The clips of each key that several have."""
    found: dict[object, list[str]] = {}
    for clip_id, key in pairs:
        if key is not None:
            found.setdefault(key, []).append(clip_id)
    return [clip_ids for clip_ids in found.values() if len(clip_ids) > 1]
