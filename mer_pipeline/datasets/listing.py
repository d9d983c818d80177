"""What an adapter finds in the folder of a dataset.

An adapter opens no media file. It lists the files below the folder, and joins the rows of the CSVs to them by name. A
name in a CSV is only looked up in this list, so that it cannot lead to a file outside of the folder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from mer_pipeline.base.clips import GIVEN, Clip
from mer_pipeline.base.csv_files import check_label, clean, known, read_csv
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.base.target import Target


@dataclass(frozen=True)
class Entry:
    """One clip as the dataset describes it.

    Attributes:
        clip_id: its name.
        video, audio, faces: paths of its files, relative to the dataset's root.
        group: the speaker or scene.
        order: the number of the utterance within its group.
        split: "train", "test" or "pool".
        label: the given label.
        zh, en: the transcript in Chinese and in English.
        fps: the true frame rate in frames per second, if the file's own is wrong.
        duration: the true length in seconds, if the file's own is wrong.
    """

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

    @property
    def has_file(self) -> bool:
        """Whether there is any file of the clip: a video, a sound or an array of faces."""
        return not self.video is self.audio is self.faces is None


def media_of(clip: Clip, root: Path) -> list[Path]:
    """Return the video and the sound file of a listed clip, as far as there are any.

    Args:
        clip: a clip whose row of "listing" has the fields of an Entry.
        root: the dataset's root.
    """
    listed = clip.need("listing")
    return [root / str(listed[kind]) for kind in ("video", "audio") if listed[kind] is not None]


@dataclass(frozen=True)
class Vote:
    """The label that one source gives one clip. Sources of one family are likely to make the same errors.

    Attributes:
        clip_id, source, family, label: as the names say.
        worker: the rater, if the source is a crowd whose raters are known one by one.
        count: how many raters say so, if the source is a crowd whose raters are counted.
    """

    clip_id: str
    source: str
    family: str
    label: str
    worker: str | None = None
    count: int | None = None


NoteKind = Literal["Copies", "Layout", "NoClip", "NoFile", "NotRead"]
NOTES: frozenset[str] = frozenset(get_args(NoteKind))  # what is in the quarantine of ingest and is no failure


@dataclass(frozen=True)
class Note:
    """Something about a clip that a person should know. It does not stop the stage.

    Attributes:
        clip_id: the clip.
        kind: one word.
        message: one sentence.
    """

    clip_id: str
    kind: NoteKind
    message: str


@dataclass
class Listing:
    """What is known about a dataset before any media file is opened.

    Attributes:
        entries: the clips, by name.
        votes: the votes of all sources.
        truth: true labels by clip, for evaluation only.
        notes: what a person should know.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)
    truth: dict[str, str] = field(default_factory=dict)  # for evaluation only
    notes: list[Note] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)  # films and sounds whose containers are not read, name to path

    @property
    def without_file(self) -> frozenset[str]:
        """The clips that have no file; empty where no clip has one, because none is looked for then."""
        absent = frozenset(name for name, entry in self.entries.items() if not entry.has_file)
        return absent if len(absent) < len(self.entries) else frozenset()

    def update(self, clip_id: str, where: str, **changes: str | float | None) -> bool:
        """Set fields of a clip's entry.

        If there is no entry, one is made and a note is added: a clip without a file may still have words.

        Args:
            clip_id: the clip.
            where: the name of the CSV that names it, for the note.
            changes: the new values of fields of Entry.

        Returns:
            Whether the clip has a file.
        """
        entry = self.entries.get(clip_id)
        if entry is None:
            entry = self.entries[clip_id] = Entry(clip_id)
            self.notes.append(Note(clip_id, "NoFile", f"{where} names this clip and {self.why_not(clip_id)}"))
        self.entries[clip_id] = replace(entry, **changes)  # type: ignore[arg-type]  # keywords are Entry's fields
        return entry.has_file

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
    """Read the votes of other annotators from a CSV with the columns name, source, family and label.

    A source votes once on a clip. A crowd is a source of which the file has more: with a column `worker` a row for each
    rater, or with a column `count` a row for each label, with the number of raters who give it.

    Raises:
        DatasetError: as for `read_csv`; or if a label is unknown, a source or family is empty or a source is called
            "given", a count is no whole number above 0, or a source, rater or label of a crowd is there twice.
    """
    seen: set[tuple[str, str, str | None, str | None]] = set()
    for row in read_csv(path, ("name", "source", "family", "label"), unique=None):
        label, worker = check_label(row["label"], classes, str(path)), known(row.get("worker"))
        vote = Vote(clean(row["name"]), row["source"], row["family"], label, worker, _count(row.get("count"), path))
        if vote.source == GIVEN or not vote.source or not vote.family:
            raise DatasetError(
                f"{path}: a vote needs a family and a source other than '{GIVEN}', the dataset's own label"
            )
        if worker is not None and vote.count is not None:
            raise DatasetError(f"{path}: '{vote.clip_id}' has a worker and a count in one row; give one of them")
        key = (vote.clip_id, vote.source, worker, None if vote.count is None else label)
        if key in seen:
            who = f"source '{vote.source}'" if worker is None else f"worker '{worker}' of source '{vote.source}'"
            raise DatasetError(
                f"{path}: {who} votes twice on '{vote.clip_id}'; a crowd needs a column 'worker' with the "
                "raters' names, or 'count' with their number"
            )
        seen.add(key)
        if vote.clip_id in listing.entries:
            listing.votes.append(vote)
        else:
            listing.notes.append(Note(vote.clip_id, "NoClip", f"{path.name} votes on a clip that is not there"))


def _count(cell: str | None, path: Path) -> int | None:
    text = known(cell)
    if text is None:
        return None
    if not text.isdecimal() or not int(text):
        raise DatasetError(
            f"{path}: the count '{text}' is no whole number above 0; leave the row out if nobody says so"
        )
    return int(text)


def add_truth(listing: Listing, path: Path, target: Target) -> None:
    """Read true labels, which are for evaluation only, from a CSV with the columns name and discrete.

    For numbers, the CSV has the column of each dimension instead of discrete.

    Raises:
        DatasetError: as for `read_csv`; or if a label is unknown.
    """
    for row in read_csv(path, ("name", *target.columns("discrete"))):
        label = target.read(row, "discrete", f"{path}, '{row['name']}'")
        if row["name"] in listing.entries and label is not None:
            listing.truth[row["name"]] = label


def add_groups(listing: Listing, pattern: str | None, order: str | None) -> None:
    """Fill in groups and orders that the dataset does not give.

    Each is what the first group of a regular expression finds in the clip's name. If nothing is found, the clip is a
    group of its own, and has no order.

    Args:
        listing: its entries are changed.
        pattern: the expression for groups, or None.
        order: the expression for orders, or None.

    Raises:
        DatasetError: if `order` finds something that is not a number.
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
