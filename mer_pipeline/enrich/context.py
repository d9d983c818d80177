"""`data/cue_words.parquet`: what other clips add to one clip's context, as words.

Its measures against its group's habit (`cues.py`), and what was said before and after it in the same group. Both
enter as coarse words, so a new clip touches the context of few others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mer_pipeline.base.clips import Row
from mer_pipeline.config.project import Project
from mer_pipeline.enrich.backend import EnrichParams
from mer_pipeline.enrich.cues import cue_words
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import read_folder, read_parquet, write_table

SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("words", pa.list_(pa.string())),
        pa.field("before", pa.list_(pa.string())),  # oldest first
        pa.field("after", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Neighbours:
    """The words around one utterance, oldest first."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def write_context(params: EnrichParams, project: Project) -> None:
    """Write the table from those of cues, transcripts and clips."""
    measures = read_folder(project.table("cues")).to_pylist()
    transcripts = read_folder(project.table("transcript"), ["clip_id", "zh", "en"]).to_pylist()
    manifest = read_parquet(project.manifest, ["clip_id", "group", "order"]).to_pylist()
    write_table(project.table("cue_words"), context_of(measures, transcripts, manifest, params))


def context_of(
    measures: Sequence[Row], transcripts: Sequence[Row], manifest: Sequence[Row], params: EnrichParams
) -> pa.Table:
    """The words of every clip that has any, in the order of their ids.

    Args:
        measures: rows of data/cues.
        transcripts: clip_id, zh, en.
        manifest: clip_id, group, order.
        params: language, and how many neighbours.
    """
    words = cue_words(measures, {str(row["clip_id"]): str(row["group"]) for row in manifest}, params.language)
    # A neighbour is quoted once: in the language of the prompt where it has it.
    first, second = ("zh", "en") if params.language == "zh" else ("en", "zh")
    spoken = {str(row["clip_id"]): str(row[first] or row[second]) for row in transcripts if row[first] or row[second]}
    around = neighbours_of(manifest, spoken, params.reach)
    rows = [
        {"clip_id": clip_id, "words": words.get(clip_id, []), **vars(around.get(clip_id, Neighbours()))}
        for clip_id in sorted(words.keys() | around.keys())
    ]
    return to_table(rows, SCHEMA)


def neighbours_of(manifest: Sequence[Row], spoken: Mapping[str, str], count: int) -> dict[str, Neighbours]:
    """Each clip's neighbours that have words.

    Args:
        manifest: rows with clip_id, group and order; clips without an order have no neighbours and are none.
        spoken: words by clip.
        count: how many places to look at on each side.
    """
    scenes: dict[str, list[tuple[float, str]]] = {}
    for row in manifest if count else ():
        if row["order"] is not None:
            scenes.setdefault(str(row["group"]), []).append((float(str(row["order"])), str(row["clip_id"])))
    found = {}
    for scene in scenes.values():
        order = [clip_id for _, clip_id in sorted(scene)]
        for at, clip_id in enumerate(order):
            around = order[max(0, at - count) : at], order[at + 1 : at + 1 + count]
            before, after = (tuple(spoken[name] for name in side if name in spoken) for side in around)
            found[clip_id] = Neighbours(before, after)
    return found
