"""What an adapter finds in a dataset's folder.

An adapter opens no media: it lists files by walking the folder and joins the CSVs to them by name, so a name
in a CSV is only ever looked up among the files that are there and cannot lead out of the folder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from mer_pipeline.base.clips import GIVEN
from mer_pipeline.base.csv_files import check_label, clean, read_csv, read_label
from mer_pipeline.base.errors import DatasetError


@dataclass(frozen=True)
class Entry:
    """One clip as the dataset describes it; paths are relative to the dataset's root."""

    clip_id: str
    video: str | None = None
    audio: str | None = None
    faces: str | None = None
    group: str | None = None
    order: float | None = None
    split: str = "pool"
    label: str | None = None
    zh: str | None = None
    en: str | None = None
    fps: float | None = None
    duration: float | None = None


@dataclass(frozen=True)
class Vote:
    """What one source says a clip is; sources of one family are not independent of each other."""

    clip_id: str
    source: str
    family: str
    label: str


@dataclass(frozen=True)
class Note:
    """Something about the dataset that a person should know and that stops nothing."""

    clip_id: str
    kind: str
    message: str


@dataclass
class Listing:
    """All of a dataset before any media file is opened."""

    entries: dict[str, Entry] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)
    truth: dict[str, str] = field(default_factory=dict)  # for evaluation only
    notes: list[Note] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)  # films and sounds whose containers are not read, name to path

    def update(self, clip_id: str, where: str, **changes: str | float | None) -> bool:
        """Set fields of an entry; a named clip without a file is still a clip (it may have words), with a note.

        Returns:
            Whether it has a file.
        """
        entry = self.entries.get(clip_id)
        if entry is None:
            entry = self.entries[clip_id] = Entry(clip_id)
            self.notes.append(Note(clip_id, "NoFile", f"{where} names this clip and {self.why_not(clip_id)}"))
        self.entries[clip_id] = replace(entry, **changes)  # type: ignore[arg-type]  # keywords are Entry's fields
        return not entry.video is entry.audio is entry.faces is None

    def why_not(self, clip_id: str) -> str:
        """Why a clip has no file, after "and"."""
        if path := self.unread.get(clip_id):
            return f"its file {path} is of a kind that is not read: {mend(path)}"
        return "there is no such file"

    def note_unread(self) -> None:
        """Add a note on the files whose containers are not read."""
        if self.unread:
            first = min(self.unread)
            self.notes.append(Note(first, "NotRead", f"{about_unread(self.unread)}: {mend(self.unread[first])}"))


def mend(path: str) -> str:
    """What to do about a file whose container is not read."""
    return f"convert such files, as with `ffmpeg -i '{path}' '{PurePosixPath(path).with_suffix('.mp4')}'`"


def about_unread(unread: Mapping[str, str]) -> str:
    """How many files there are whose containers are not read, by suffix; "" where there are none."""
    counts = Counter(PurePosixPath(path).suffix.lower() for path in unread.values())
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    return f"{len(unread)} files of other kinds ({kinds}) are not read" if unread else ""


def add_media(
    listing: Listing, videos: Mapping[str, str], sounds: Mapping[str, str], faces: Mapping[str, str] | None = None
) -> None:
    """Make an entry for every file; a video, a sound and an array of faces of one name are one clip."""
    arrays = faces or {}
    for name in sorted({*videos, *sounds, *arrays}):
        listing.entries[name] = Entry(name, video=videos.get(name), audio=sounds.get(name), faces=arrays.get(name))


def add_votes(listing: Listing, path: Path, classes: Sequence[str]) -> None:
    """Read further annotators' votes: CSV name,source,family,label.

    Raises:
        DatasetError: as `read_csv`; or a label is unknown; or a source votes twice on a clip.
    """
    seen: set[tuple[str, str]] = set()
    for row in read_csv(path, ("name", "source", "family", "label"), unique=None):
        vote = Vote(clean(row["name"]), row["source"], row["family"], check_label(row["label"], classes, str(path)))
        if vote.source == GIVEN or not vote.source or not vote.family:
            raise DatasetError(
                f"{path}: a vote needs a family and a source other than '{GIVEN}', the dataset's own label"
            )
        if (vote.clip_id, vote.source) in seen:
            raise DatasetError(f"{path}: source '{vote.source}' votes twice on '{vote.clip_id}'")
        seen.add((vote.clip_id, vote.source))
        if vote.clip_id in listing.entries:
            listing.votes.append(vote)
        else:
            listing.notes.append(Note(vote.clip_id, "NoClip", f"{path.name} votes on a clip that is not there"))


def add_truth(listing: Listing, path: Path, classes: Sequence[str]) -> None:
    """Read true labels, for evaluation only: CSV name,discrete.

    Raises:
        DatasetError: as `read_csv`; or a label is unknown.
    """
    for row in read_csv(path, ("name", "discrete")):
        label = read_label(row["discrete"], classes, f"{path}, '{row['name']}'")
        if row["name"] in listing.entries and label is not None:
            listing.truth[row["name"]] = label


def add_groups(listing: Listing, pattern: str | None, order: str | None) -> None:
    """Fill in what is not given: groups by what a pattern finds in the name, else the clip itself; order likewise.

    Raises:
        DatasetError: the order pattern finds something that is no number.
    """
    for name, entry in listing.entries.items():
        place, number = (re.search(p, name) if p else None for p in (pattern, order))
        listing.entries[name] = replace(
            entry,
            group=entry.group or (place and place.group(1)) or name,
            order=_order(number.group(1), name) if entry.order is None and number else entry.order,
        )


def _order(text: str, name: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise DatasetError(
            f"dataset.order_pattern finds '{text}' in '{name}', which is no number; its first group must be digits"
        ) from None
