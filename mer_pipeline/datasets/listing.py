"""What an adapter finds in a dataset's folder, and the CSV reading that adapters share.

An adapter opens no media: it lists files by walking the folder and joins the CSVs to them by name, so a name
in a CSV is only ever looked up among the files that are there and cannot lead out of the folder.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mer_pipeline.errors import DatasetError, did_you_mean

ABSENT = frozenset({"", "nan", "none", "null", "n/a"})


@dataclass(frozen=True)
class Entry:
    """One clip as the dataset describes it; paths are relative to the dataset's root."""

    clip_id: str
    video: str | None = None
    audio: str | None = None
    group: str | None = None
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

    def update(self, clip_id: str, where: str, **changes: str | float | None) -> bool:
        """Set fields of an entry; a named clip without a file is still a clip (it may have words), with a note.

        Returns:
            Whether it has a file.
        """
        entry = self.entries.get(clip_id)
        if entry is None:
            entry = self.entries[clip_id] = Entry(clip_id)
            self.notes.append(Note(clip_id, "NoFile", f"{where} names this clip and there is no such file"))
        self.entries[clip_id] = replace(entry, **changes)  # type: ignore[arg-type]  # keywords are Entry's fields
        return entry.video is not None or entry.audio is not None


def media_files(folder: Path, root: Path, suffixes: frozenset[str]) -> dict[str, str]:
    """Media below a folder: name (path below it without suffix, NFC) to path relative to root.

    Raises:
        DatasetError: two files of one name.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() not in suffixes or any(part.startswith(".") for part in relative.parts):
            continue
        name = clean(relative.with_suffix("").as_posix())
        place = path.relative_to(root).as_posix()
        if name in found:
            raise DatasetError(f"two files are called '{name}': {found[name]} and {place}; rename or remove one")
        found[name] = place
    return found


def add_media(listing: Listing, videos: Mapping[str, str], sounds: Mapping[str, str]) -> None:
    """Make an entry for every file; a video and a sound of one name are one clip."""
    for name in sorted({*videos, *sounds}):
        listing.entries[name] = Entry(name, video=videos.get(name), audio=sounds.get(name))


def clean(text: str) -> str:
    """A name or label as it is compared: NFC (file systems differ), no blanks around."""
    return unicodedata.normalize("NFC", text).strip()


def present(text: str | None) -> str | None:
    """A cell's text, or None where it is empty or says NaN."""
    return None if text is None or text.strip().lower() in ABSENT else text.strip()


def read_csv(path: Path, columns: Sequence[str], unique: str | None = "name") -> Iterator[Mapping[str, str]]:
    """Rows of a CSV with a header, UTF-8 with or without a byte-order mark.

    Args:
        path: the file.
        columns: those that must be there.
        unique: a column whose values must differ.

    Raises:
        DatasetError: it is missing, not UTF-8, lacks a column, or repeats a name.
    """
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            for column in columns:
                if column not in header:
                    raise DatasetError(f"{path}: no column '{column}'{did_you_mean(column, header)}")
            for row in reader:
                cells = {key: value or "" for key, value in row.items() if key is not None}
                if unique is not None:
                    name = cells[unique] = clean(cells[unique])
                    if name in seen:
                        raise DatasetError(f"{path}: '{name}' stands there twice; keep one of the rows")
                    seen.add(name)
                yield cells
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise DatasetError(f"{path} is not a readable CSV: {error}") from None


def check_label(label: str, classes: Sequence[str], where: str) -> str:
    """A label, cleaned.

    Raises:
        DatasetError: it is none of the classes.
    """
    label = clean(label)
    if label not in classes:
        raise DatasetError(f"{where}: unknown label '{label}'{did_you_mean(label, classes)}")
    return label


def add_votes(listing: Listing, path: Path, classes: Sequence[str]) -> None:
    """Read further annotators' votes: CSV name,source,family,label.

    Raises:
        DatasetError: as `read_csv`; or a label is unknown; or a source votes twice on a clip.
    """
    seen: set[tuple[str, str]] = set()
    for row in read_csv(path, ("name", "source", "family", "label"), unique=None):
        vote = Vote(clean(row["name"]), row["source"], row["family"], check_label(row["label"], classes, str(path)))
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
        if row["name"] in listing.entries:
            listing.truth[row["name"]] = check_label(row["discrete"], classes, str(path))


def add_groups(listing: Listing, pattern: str | None) -> None:
    """Fill in the groups that are not given: what the pattern finds in the name, else the clip itself."""
    for name, entry in listing.entries.items():
        if entry.group is None:
            match = re.search(pattern, name) if pattern else None
            listing.entries[name] = replace(entry, group=match.group(1) if match else name)
