"""The table `cue_words`: what the context of a clip takes from other clips of its group, in words.

It has two parts. The first compares the clip's measures with what is usual in its group (`cues.py`). The second is what
was said before and after the clip. Comparisons are coarse words and not numbers, so that a new clip changes the context
of only a few others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mer_pipeline.base.clips import Row
from mer_pipeline.config.project import Project
from mer_pipeline.enrich.backend import EnrichParams
from mer_pipeline.enrich.cues import cue_words, note_small
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
    """The words that were said before and after one utterance, oldest first."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def write_context(params: EnrichParams, project: Project, population: Project | None = None) -> str:
    """Write the table `cue_words` from the measures, the transcripts and the manifest.

    Args:
        params: the language, and the number of neighbours.
        project: the project with the tables.
        population: the project whose clips say what is usual for all clips; None: `project`. With another one, a clip
            is described as a clip of a new speaker in that project's dataset would be, and other clips of `project`
            that are not of its group do not change its words.

    Returns:
        A sentence on the groups that have too few clips to be compared with their own habit; "" if there are none.
    """
    measures = read_folder(project.table("cues")).to_pylist()
    transcripts = read_folder(project.table("transcript"), ["clip_id", "zh", "en"]).to_pylist()
    manifest = read_parquet(project.manifest, ["clip_id", "group", "order"]).to_pylist()
    usual = None if population is None else read_folder(population.table("cues")).to_pylist()
    write_table(project.table("cue_words"), context_of(measures, transcripts, manifest, params, usual))
    return note_small(measures, _group_of(manifest))


def context_of(
    measures: Sequence[Row],
    transcripts: Sequence[Row],
    manifest: Sequence[Row],
    params: EnrichParams,
    population: Sequence[Row] | None = None,
) -> pa.Table:
    """Make the table `cue_words`: one row for every clip that has measures or a place in its group, sorted by clip_id.

    Args:
        measures: rows of the table `cues`.
        transcripts: rows with clip_id, zh and en.
        manifest: rows with clip_id, group and order.
        params: the language, and the number of neighbours.
        population: as in `cue_words`.
    """
    words = cue_words(measures, _group_of(manifest), params.language, population)
    # Each neighbour is quoted in one language only: that of the prompt if it has words in it, or else the other.
    first, second = ("zh", "en") if params.language == "zh" else ("en", "zh")
    spoken = {str(row["clip_id"]): str(row[first] or row[second]) for row in transcripts if row[first] or row[second]}
    around = neighbours_of(manifest, spoken, params.reach)
    rows = [
        {"clip_id": clip_id, "words": words.get(clip_id, []), **vars(around.get(clip_id, Neighbours()))}
        for clip_id in sorted(words.keys() | around.keys())
    ]
    return to_table(rows, SCHEMA)


def _group_of(manifest: Sequence[Row]) -> dict[str, str]:
    return {str(row["clip_id"]): str(row["group"]) for row in manifest}


def neighbours_of(manifest: Sequence[Row], spoken: Mapping[str, str], count: int) -> dict[str, Neighbours]:
    """Find the words of each clip's neighbours in its group.

    Args:
        manifest: rows with clip_id, group and order. A clip without an order has no neighbours and is nobody's
            neighbour.
        spoken: the words of each clip that has any.
        count: the number of neighbours on each side; those without words are left out.

    Example:
        >>> scene = [{"clip_id": name, "group": "s", "order": at} for at, name in enumerate("abc")]
        >>> neighbours_of(scene, {"a": "Hello.", "c": "Bye."}, 1)["b"]
        Neighbours(before=('Hello.',), after=('Bye.',))
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
