"""The clip, which is the input of a transform, and the schemas of the manifest, the votes and the quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from mer_pipeline.base.errors import Skip

# One row of a table. An Arrow schema beside the code that makes the table gives its columns and types.
Row: TypeAlias = Mapping[str, object]

SPLITS = ("train", "test", "pool")

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),  # the dataset's name for the clip, in Unicode NFC
        pa.field("group", pa.string(), nullable=False),  # the speaker or scene; if unknown, the clip's own name
        pa.field("order", pa.float64()),  # position within the group; null if the dataset gives none
        pa.field("split", pa.string(), nullable=False),  # train: has a label; test: a candidate; pool: neither
        pa.field("label", pa.string()),  # the given label; null unless the split is train
        pa.field("video", pa.string()),  # path relative to the dataset's root
        pa.field("audio", pa.string()),  # path of a separate sound file; null: the sound is in the video file
        pa.field("fps", pa.float64()),  # frames per second, where a CSV of the dataset gives it
        pa.field("duration", pa.float64()),  # seconds, where a CSV of the dataset gives it
        pa.field("video_sha256", pa.string()),
        pa.field("audio_sha256", pa.string()),
        pa.field("width", pa.int32()),  # pixels, after the picture is turned upright
        pa.field("height", pa.int32()),
        pa.field("seconds", pa.float64()),  # length of the video, or of the sound where there is no video
        pa.field("frame_rate", pa.float64()),  # frames per second, as the file's container gives it
        pa.field("has_sound", pa.bool_(), nullable=False),
    ]
)

# Further columns where the dataset brings faces that others cut out.
GIVEN_FACES = (
    pa.field("faces", pa.string()),  # path relative to root, of an array of pictures
    pa.field("faces_sha256", pa.string()),
)

# Votes in long form: one row per clip and source. Sources of one family are likely to make the same errors.
VOTES_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("clip_id", "source", "family", "label")]
)
# Further columns where a source is a crowd: the rater who gave the vote, or how many raters gave it.
CROWD_FIELDS = (pa.field("worker", pa.string()), pa.field("count", pa.int64()))
GIVEN = "given"  # the name of the source of the given labels


def votes_schema(votes: Sequence[Row]) -> pa.Schema:
    """Return VOTES_SCHEMA with the columns of CROWD_FIELDS that any of these votes has."""
    extra = [field for field in CROWD_FIELDS if any(vote[field.name] is not None for vote in votes)]
    return pa.schema([*VOTES_SCHEMA, *extra])


PROBLEM_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),  # class of the exception: BadInput, Transient, or that of a bug
        pa.field("message", pa.string(), nullable=False),
        pa.field("input_digest", pa.string(), nullable=False),
        pa.field("traceback", pa.string()),  # only for a bug, which is any exception that is not documented
    ]
)


@dataclass(frozen=True)
class Clip:
    """One clip as a transform sees it, with its row of each table that the transform reads.

    Attributes:
        clip_id: the clip's name.
        input_digest: a digest of the values that the transform declares to read.
        rows: the clip's row of each table, by the table's name; None where the table has no row for this clip.
    """

    clip_id: str
    input_digest: str
    rows: Mapping[str, Row | None]

    def need(self, table: str) -> Row:
        """Return the clip's row of a table.

        Raises:
            Skip: the table has no row for the clip, or the row is not valid. In the second case the message is the
                row's reason.
        """
        row = self.rows[table]
        if row is None:
            raise Skip(f"nothing in {table}")
        if row.get("valid") is False:
            raise Skip(str(row["reason"]))
        return row

    def maybe(self, table: str) -> Row | None:
        """Return the clip's row of a table, or None where it is absent or not valid."""
        row = self.rows[table]
        return None if row is None or row.get("valid") is False else row
