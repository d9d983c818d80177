"""The command `mer export card`: what the features in data/ were made with, as Markdown for whoever gets them.

footers of data/features/NAME/ ─┐
models.lock ────────────────────┼─► card
columns of data/manifest.parquet┘

Nothing is computed, and params.yaml is not read: it may have changed since the features were made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.clips import SPLITS, Row
from mer_pipeline.base.errors import StageError, UsageError
from mer_pipeline.config.project import Project
from mer_pipeline.models.lock import Entry, files_of, read_lock
from mer_pipeline.tables.shards import provenance_of, read_folder, read_parquet

NUMERIC = ("python", "numerics", "device", "precision", "threads")  # parts that say how was computed
SHORT = 12  # digits of a hash that are shown
MOST_LABELS = 40  # different labels that are listed


@dataclass(frozen=True)
class FeatureTable:
    """One table of features, as its footers and its rows describe it.

    Attributes:
        name: of the encoder.
        fingerprint: of what made the rows.
        parts: of the fingerprint, by name; the code is one digest.
        vector: the type of its vectors.
        rows: the number of clips with a row.
        missing: for each reason, the number of clips whose row has no vector.
    """

    name: str
    fingerprint: str
    parts: Mapping[str, str]
    vector: pa.FixedSizeListType
    rows: int
    missing: Counter[str]

    def below(self, kind: str) -> dict[str, str]:
        """Return the parts of one kind, such as "params" or "library", by the rest of their names."""
        return {
            name.removeprefix(f"{kind}."): value for name, value in self.parts.items() if name.startswith(f"{kind}.")
        }


def export_card(project: Project, out: Path | None) -> str:
    """Return the card; or write it to a file, and return a line that says so.

    Raises:
        UsageError: there are no features, or the file cannot be written.
        StageError: a table is damaged, or not of one run.
        CheckpointError: models.lock cannot be read.
    """
    tables = read_tables(project)
    manifest = read_parquet(project.manifest, ["split", "label", "group"]).to_pylist()
    text = card(tables, read_lock(project.lock), manifest)
    if out is None:
        return text
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(out, text + "\n")
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}); name another file with --out") from None
    return f"wrote {out}: {len(tables)} tables of features"


def read_tables(project: Project) -> list[FeatureTable]:
    """Read what describes each table of features of a project, sorted by name. Folders of other origin are left out.

    Raises:
        UsageError: there are no features.
        StageError: a shard cannot be read, or the shards of one table have different footers.
    """
    tables = [
        _read_table(folder, parts)
        for folder in sorted(project.features.glob("*/"))
        if (parts := sorted(folder.glob("part-*.parquet")))
        and provenance_of(parts[0]).get("transform") == f"embed-{folder.name}"
    ]
    if not tables:
        raise UsageError(f"there are no features in {project.features}; make them with `dvc repro`")
    return tables


def _read_table(folder: Path, parts: Sequence[Path]) -> FeatureTable:
    footers = [provenance_of(part) for part in parts]
    if len({(footer.get("fingerprint"), footer.get("parts")) for footer in footers}) > 1:
        raise StageError(f"the shards of {folder} were not made by one run; make them again with `dvc repro --force`")
    table = read_folder(folder, ["valid", "reason"])
    vector = read_parquet(parts[0], ["vector"]).schema.field("vector").type
    missing = Counter(str(row["reason"]) for row in table.to_pylist() if not row["valid"])
    made = footers[0]
    return FeatureTable(folder.name, made["fingerprint"], json.loads(made["parts"]), vector, len(table), missing)


def card(tables: Sequence[FeatureTable], locked: Mapping[str, Entry], manifest: Sequence[Row]) -> str:
    """Return the card of some tables.

    Args:
        tables: of features.
        locked: the entries of models.lock.
        manifest: rows with split, label and group of every clip.
    """
    lines = [
        "# Feature card",
        "",
        "Written by `mer export card` from the footers of the tables and from models.lock. A hash is shown by its "
        f"first {SHORT} digits.",
        "",
        *_dataset(manifest),
    ]
    clips = len(manifest)
    for table in tables:
        facts = _facts(table, locked.get(table.name), clips)
        lines += ["", f"## {table.name}", "", *_table(("what", "value"), facts)]
    licences = dict.fromkeys(
        _licence(locked[table.name]) for table in tables if table.name in locked and table.below("file")
    )
    if licences:
        lines += ["", "## Licences of the checkpoints", "", *(f"- {line}" for line in licences)]
    return "\n".join([*lines, "", "## Libraries", "", *_table(("library", "version", "for"), _libraries(tables))])


def _dataset(manifest: Sequence[Row]) -> list[str]:
    rows = []
    for split in SPLITS:
        of = [row for row in manifest if row["split"] == split]
        labelled = Counter(str(row["label"]) for row in of if row["label"] is not None)
        classes = ", ".join(f"{name} {count}" for name, count in sorted(labelled.items()))
        if len(labelled) > MOST_LABELS:  # numbers, or sets of classes
            classes = f"{len(labelled)} different labels"
        rows.append((split, str(len(of)), str(labelled.total()), str(len({row["group"] for row in of})), classes))
    return ["## Dataset", "", *_table(("split", "clips", "labelled", "groups", "clips of each class"), rows)]


def _facts(table: FeatureTable, entry: Entry | None, clips: int) -> list[tuple[str, str]]:
    params = {name: json.loads(value) for name, value in table.below("params").items()}
    options = ", ".join(
        f"{name}: {json.dumps(value, ensure_ascii=False)}"
        for name, value in params.items()
        if name not in {"family", "input"}
    )
    missing = table.missing + Counter({"quarantined by this or an earlier stage": clips - table.rows})
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(missing.items()))
    # The part `numerics` lists every setting of its libraries behind its name.
    numeric = ", ".join(f"{name} {table.parts[name].split()[0]}" for name in NUMERIC if name in table.parts)
    return [
        ("encoder", table.name),
        ("family", str(params.get("family"))),
        ("input", str(params.get("input"))),
        ("params", f"{options}; others have their defaults" if options else "all have their defaults"),
        ("checkpoint", _checkpoint(table, entry)),
        ("dimensions", f"{table.vector.list_size} ({np.dtype(table.vector.value_type.to_pandas_dtype())})"),
        ("rows", f"{table.rows} of {clips} clips"),
        ("missing", f"{missing.total()}" + (f" ({reasons})" if reasons else "")),
        ("code fingerprint", table.parts.get("code", "none")),
        ("fingerprint", table.fingerprint),
        ("computed with", numeric),
    ]


def _checkpoint(table: FeatureTable, entry: Entry | None) -> str:
    """Say which checkpoint the rows were made with, and where it is from."""
    files = table.below("file")
    if not files:
        return "none"
    shown = ", ".join(f"{name} {sha256[:SHORT]}" for name, sha256 in sorted(files.items()))
    if entry is None:
        return f"not in models.lock; files: {shown}"
    if set(files.values()) != set(files_of(entry).values()):
        return f"models.lock has another one now; files of this: {shown}"
    return f"{_origin(entry)}; files: {shown}"


def _origin(entry: Entry) -> str:
    if (origin := entry.get("origin")) is None:
        return "no origin on record, because `mer models fetch` did not write it"
    return f"{origin['spec']}: {origin['repository']} at {origin['commit']}, licence {_of(origin)}"


def _licence(entry: Entry) -> str:
    origin = entry.get("origin")
    return _origin(entry) if origin is None else f"{origin['spec']}: {_of(origin)}"


def _of(origin: Mapping[str, object]) -> str:
    return str(origin["licence"] or "not stated")


def _libraries(tables: Sequence[FeatureTable]) -> list[tuple[str, str, str]]:
    users: dict[tuple[str, str], list[str]] = {}
    for table in tables:
        for library in table.below("library").items():
            users.setdefault(library, []).append(table.name)
    return [(name, version, ", ".join(names)) for (name, version), names in sorted(users.items())]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table. What would end a cell or a line is written as a blank or an escape."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
