"""The command `mer init`: write params.yaml from a profile, with the section `dataset` for the user's own folder."""

from __future__ import annotations

import csv as csv_module
import os
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from mer_pipeline.base.atomic import replacing
from mer_pipeline.base.csv_files import clean, present
from mer_pipeline.base.errors import ComponentError, DatasetError, UsageError, did_you_mean
from mer_pipeline.config.components import ADAPTERS
from mer_pipeline.config.params import parse_params
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich.backend import LanguageModelParams

PROFILES = Path("profiles")
PARAMS = Project().params

# Usual names of the columns in CSV files, the most usual first.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "name": ("name", "clip", "clip_id", "file", "filename", "file_name", "video", "path", "id"),
    "label": ("label", "emotion", "discrete", "class", "category"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "speaker", "actor", "subject", "speaker_id", "scene"),
    "order": ("order", "utterance_id", "turn"),
    "transcript": ("transcript", "text", "sentence", "utterance", "subtitle"),
    "fps": ("fps", "frame_rate"),
    "duration": ("duration", "seconds"),
}


def write_params(
    profile: str, data: Path, csv: Path | None, *, force: bool, columns: Mapping[str, str] | None = None
) -> str:
    """Write params.yaml.

    Args:
        profile: the name of a file in profiles/, without its suffix.
        data: the folder of the clips.
        csv: the CSV file that describes the clips; None: it is searched for (`find_csv`).
        force: whether to replace a params.yaml that was edited.
        columns: columns of the CSV file with unusual names, by their meaning (a key of `SYNONYMS`).

    Returns:
        The text to print.

    Raises:
        UsageError: there is no such profile, or params.yaml was edited and `force` is false.
        DatasetError: there is no such folder, or the CSV file cannot be used.
    """
    known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if profile not in known:
        where = "" if known else f"; run this in the project's root, where {PROFILES}/ is"
        raise UsageError(f"no profile '{profile}'{did_you_mean(profile, known)}{where}")
    if not data.is_dir():
        raise DatasetError(f"there is no folder {data}; --data names the folder of the clips")
    if PARAMS.exists() and not force and not _is_untouched(PARAMS.read_text("utf-8", errors="replace"), known):
        raise UsageError(f"{PARAMS} was edited; keep a copy and run `mer init` again with --force")
    yaml = _yaml()
    params = yaml.load(PROFILES / f"{profile}.yaml")
    dataset = _describe(data, csv, columns or {})
    params["dataset"] = dataset
    checked = parse_params(_plain(params), str(PARAMS))  # makes sure that the file can be read later
    from mer_pipeline.heads.make import check_heads  # imported here because it imports torch

    check_heads(checked.train, checked.heads_elsewhere)
    with replacing(PARAMS, durable=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    enrich = checked.enrich
    model = enrich.model if isinstance(enrich, LanguageModelParams) and enrich.by_server else None
    return _story(profile, dataset, model)


def _describe(data: Path, csv: Path | None, named: Mapping[str, str]) -> CommentedMap:
    root = _portable(data)
    for adapter in ADAPTERS.names() if csv is None else ():
        try:
            found = ADAPTERS.load(adapter)
        except ComponentError:
            continue  # an adapter of a broken installed package, which the user did not ask for
        if found.fits(data):
            classes = list(found.Params.model_fields["classes"].default)
            return CommentedMap(adapter=adapter, root=root, csv=root, classes=classes)
    csv = csv or find_csv(data)
    dataset = CommentedMap(adapter="folder", root=root, csv=root if csv is None else _portable(csv))
    labels: list[str] = []
    if csv is not None:
        columns, labels = read_header(csv, named)
        if columns:
            dataset["columns"] = CommentedMap(columns)
    dataset["classes"] = order_classes(labels)
    return dataset


def find_csv(data: Path) -> Path | None:
    """Return the CSV file that describes a folder: the only one in it, or the one beside it with the folder's name.

    None if there is neither.
    """
    inside, beside = sorted(data.glob("*.csv")), data.resolve().with_suffix(".csv")
    if len(inside) == 1:
        return inside[0]
    if not inside and beside.exists():
        return data.parent / beside.name
    return None


def read_header(csv: Path, named: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Read the columns of a CSV file by their meaning, and its different labels, sorted.

    Args:
        csv: the file.
        named: the columns that the user names, by meaning; the others are found by their usual names (`SYNONYMS`).

    Raises:
        UsageError: a key of `named` is not a known meaning.
        DatasetError: the file cannot be read, or it lacks a named column or the column for the clip's name.
    """
    for key in named:
        if key not in SYNONYMS:
            raise UsageError(f"--column {key}: no such meaning{did_you_mean(key, SYNONYMS)}")
    try:
        with csv.open(encoding="utf-8-sig", newline="") as file:
            reader = csv_module.DictReader(file)
            header = list(reader.fieldnames or [])
            for wanted in named.values():
                if wanted not in header:
                    raise DatasetError(f"{csv}: no column '{wanted}'{did_you_mean(wanted, header)}")
            free = [column for column in header if column not in named.values()]
            guessed = {key: column for key in SYNONYMS if (column := _find(free, SYNONYMS[key])) is not None}
            found = {**guessed, **named}
            label = found.get("label")
            labels = {clean(text) for row in reader if label and (text := present(row[label])) is not None}
    except (OSError, UnicodeDecodeError, csv_module.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"{csv} cannot be read as a UTF-8 CSV: {reason}") from None
    if "name" not in found:
        raise DatasetError(
            f"{csv} has no column for the clip's name among {', '.join(header)}; say which with --column name=COLUMN"
        )
    return {key: found[key] for key in SYNONYMS if key in found}, sorted(labels)


def order_classes(labels: Sequence[str]) -> list[str]:
    """Return the classes for a dataset with these labels.

    The labels are put in the order of the MER classes, and other labels follow in alphabetical order. With fewer than
    two labels, the classes are not known, so the MER classes are returned.

    Example:
        >>> order_classes(["calm", "sad", "happy"])
        ['happy', 'sad', 'calm']
    """
    if len(labels) < 2:
        return list(MER_CLASSES)
    return sorted(labels, key=lambda label: (MER_CLASSES.index(label) if label in MER_CLASSES else 99, label))


def _find(header: Sequence[str], names: Sequence[str]) -> str | None:
    lowered = {column.lower(): column for column in header}
    return next((lowered[name] for name in names if name in lowered), None)


def _portable(path: Path) -> str:
    """Return a path inside the project relative to it, so that it is valid in another clone; else an absolute path."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else Path(relative).as_posix()


def _is_untouched(text: str, profiles: Sequence[str]) -> bool:
    """Return whether params.yaml is empty, or is a profile, with its comments, apart from the section `dataset`."""
    shipped = {_without_dataset((PROFILES / f"{name}.yaml").read_text(encoding="utf-8")) for name in profiles}
    return not text.strip() or _without_dataset(text) in shipped


def _without_dataset(text: str) -> str:
    """Return the text after the section `dataset`, in this command's layout; if it is not YAML, the text unchanged."""
    try:
        loaded = _yaml().load(text)
        out = StringIO()
        _yaml().dump(loaded, out)
    except YAMLError:
        return text
    return out.getvalue().partition("\nfolds:")[2]


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    return yaml


def _plain(params: Mapping[str, object]) -> Mapping[str, object]:
    out = StringIO()
    _yaml().dump(params, out)
    loaded: Mapping[str, object] = YAML(typ="safe", pure=True).load(out.getvalue())
    return loaded


def _story(profile: str, dataset: CommentedMap, model: str | None) -> str:
    lines = [f"wrote {PARAMS}: profile {profile}, adapter {dataset['adapter']}, clips in {dataset['root']}"]
    if dataset["adapter"] == "folder":
        described = dataset["csv"] != dataset["root"]
        lines.append(
            f"  described by {dataset['csv']}" if described else "  no CSV found: every clip is unlabelled (--csv)"
        )
        if described:
            columns = dataset.get("columns", {})
            found = [f"{key} '{columns[key]}'" for key in SYNONYMS if key in columns]
            absent = [key for key in SYNONYMS if key not in columns]
            lines.append(f"  columns: {', '.join(found)}; not there: {', '.join(absent) or 'none'}")
            if "label" not in columns:
                lines.append("  no label column: every clip is unlabelled (--column label=COLUMN)")
            if "group" not in columns:
                lines.append("  no speaker column: each clip counts as its own speaker (--column group=COLUMN)")
    lines.append(f"  classes: {', '.join(dataset['classes'])}")
    if model is not None:
        lines.append(f"  a language model writes the context: start a server for {model}, set its url under")
        lines.append(
            "  [llm] in .mer.toml, then `mer enrich estimate`; or set enrich.backend: template (docs/enrichment.md)"
        )
    return "\n".join([*lines, "next: dvc repro"])
