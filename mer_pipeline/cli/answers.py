"""Read predicted and true labels from files, projects and revisions, for `mer score` and `mer compare`.

    FILE.csv         columns name and discrete, as in the challenge; other columns are ignored
    FILE.parquet     columns clip_id and label: data/predictions.parquet, or data/fusion/out_of_fold.parquet with a head
    FOLDER           a folder data/fusion, or a project that has one
    REVISION         a git revision of this project; `workspace` stands for its present files

The last two are runs; they also give the given labels, groups and classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mer_pipeline.base.clips import Row
from mer_pipeline.base.csv_files import check_label, clean, present, read_csv
from mer_pipeline.base.errors import StageError, UsageError, did_you_mean
from mer_pipeline.cli.columns import order_classes
from mer_pipeline.cli.diff import Tables, find_side
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import CONFIG, OUT_OF_FOLD, Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.metrics.train import TrainedRun
from mer_pipeline.tables.parts import Part

FILES = (".csv", ".parquet")
NAMED = 5  # number of clips that a message names


@dataclass(frozen=True)
class Answers:
    """The predictions of one side.

    Attributes:
        title: the name of the side, for messages.
        labels: the predicted label of each clip.
        given: the label of each clip to score against; empty if the side has none.
        groups: the group of each clip; empty if they are not known.
        classes: the classes, in order; empty if they are not known.
        probabilities: the probabilities of each clip, in the order of the classes; where numbers are predicted, the
            numbers; empty if there are none.
    """

    title: str
    labels: dict[str, str]
    given: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    probabilities: dict[str, list[float]] = field(default_factory=dict)


def read_truth(path: Path) -> dict[str, str]:
    """Read true labels from a CSV file, by name. Names without a label are left out.

    Raises:
        UsageError: there is no such file, it is not a CSV file with columns name and discrete, or it has no label.
    """
    _must_be_there(path)
    labels = {row["name"]: present(row["discrete"]) for row in read_csv(path, ("name", "discrete"))}
    known = {name: clean(label) for name, label in labels.items() if label is not None}
    if not known:
        raise UsageError(f"{path} has no labels in its column 'discrete', so nothing can be scored")
    return known


def read_answers(text: str, head: str | None, project: Project, *, test: bool = False) -> Answers:
    """Read the predictions that a user names.

    Args:
        text: a file, a folder or a revision, as the module's docstring lists them.
        head: the head whose out-of-fold predictions are read; None: the selected head, or the only head of a file.
        project: the project in which revisions are looked up.
        test: whether to read a run's predictions of the test candidates instead of the out-of-fold ones.

    Raises:
        UsageError: the text names nothing that can be read, or there is no such head.
        StageError: a table is damaged, has no predictions, or is not in DVC's cache.
    """
    path = Path(text)
    if path.suffix in FILES:
        _must_be_there(path)
        return _of_csv(path) if path.suffix == ".csv" else _of_parquet(path, head)
    tables = _fusion(path) if (path / CONFIG).is_file() else find_side(text, project)
    if tables.is_store:
        raise UsageError(f"{text} is a store of rows; name a project, a revision, a data/fusion or predictions")
    return _of_test(tables, head) if test else _of_run(tables, head)


def classes_of(truth: Mapping[str, str], project: Project) -> tuple[str, ...]:
    """Return the classes of this project.

    Outside a project, these are the MER classes if all true labels are among them, else the true labels' own.
    """
    if project.params.is_file():
        return load_params(project.params).dataset.classes
    return MER_CLASSES if set(truth.values()) <= set(MER_CLASSES) else tuple(order_classes(sorted({*truth.values()})))


def groups_of(project: Project) -> dict[str, str]:
    """Return the group of each clip of this project; nothing outside a project."""
    path = project.manifest
    return _column(_rows(_file(path), ("clip_id", "group")), "group") if path.is_file() else {}


def indices(labels: Mapping[str, str], names: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """Return the class indices of some clips' labels.

    Args:
        labels: the label of each clip.
        names: the clips, in the order of the result.
        classes: the classes, in order.
        where: the name of the labels' file, for the message.

    Raises:
        UsageError: a label is none of the classes.

    Example:
        >>> indices({"a": "sad", "b": "happy"}, ["a", "b"], ["happy", "sad"], "truth.csv")
        [1, 0]
    """
    return [classes.index(check_label(labels[name], classes, f"{where}, '{name}'")) for name in names]


def some(names: Sequence[str]) -> str:
    """Return the first names, for a message.

    Example:
        >>> some(["a", "b"])
        "'a', 'b'"
    """
    more = ", ..." if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more


def printable(text: str) -> str:
    """Return a text with escapes in place of characters that could control the terminal; line ends are kept."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _must_be_there(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; name one, or make it with `dvc repro` in the project's root")


def _of_csv(path: Path) -> Answers:
    return Answers(str(path), {row["name"]: row["discrete"] for row in read_csv(path, ("name", "discrete"))})


def _of_parquet(path: Path, head: str | None) -> Answers:
    with _file(path).parquet() as file:
        extra = [name for name in ("head", "probabilities", "values") if name in file.schema_arrow.names]
    rows = _rows(_file(path), ("clip_id", "label", *extra))
    heads = sorted({str(row["head"]) for row in rows if row.get("head") is not None})
    if head is not None or len(heads) > 1:
        if head is None:
            raise UsageError(f"{path} has predictions of {', '.join(heads)}; say which with --head")
        rows = _of_head(rows, head, heads, str(path))
    labels, title = _column(rows, "label"), str(path) if head is None else f"{path}, {head}"
    if len(labels) < len(rows):
        names = [str(row["clip_id"]) for row in rows]
        raise UsageError(f"{path}: '{next(n for n in labels if names.count(n) > 1)}' stands there twice; keep one row")
    said = {str(row["clip_id"]): _numbers(row) for row in rows}
    return Answers(title, labels, probabilities={name: own for name, own in said.items() if own is not None})


def _fusion(folder: Path) -> Tables:
    """Return the tables of a folder data/fusion, with the manifest beside that folder if there is one."""
    tables = {"fusion/out_of_fold": [_file(folder / OUT_OF_FOLD)]}
    if (manifest := folder.parent / "manifest.parquet").is_file():
        tables["manifest"] = [_file(manifest)]
    return Tables(str(folder), tables, {"train": (folder / CONFIG).read_bytes()})


def _of_run(tables: Tables, head: str | None) -> Answers:
    """Return the out-of-fold predictions of a head of a run."""
    rows = _table(tables, "fusion/out_of_fold", ("clip_id", "head", "label", "probabilities"))
    run = _trained_run(tables)
    head = head or run.selected
    if head is None:
        raise UsageError(f"{tables.title} has no head ({run.empty}), so there is nothing to compare")
    rows = _of_head(rows, head, sorted({str(row["head"]) for row in rows}), tables.title)
    given, groups = {}, {}
    if "manifest" in tables.tables:
        manifest = _table(tables, "manifest", ("clip_id", "group", "label"))
        groups = _column(manifest, "group")
        given = _column([row for row in manifest if row["label"] is not None], "label")
    said = {str(row["clip_id"]): _numbers(row) or [] for row in rows}
    title = f"{tables.title}, {head}, out of fold"
    return Answers(title, _column(rows, "label"), given, groups, run.classes, said)


def _of_test(tables: Tables, head: str | None) -> Answers:
    """Return a run's predictions of the test candidates, with the true labels as `given`."""
    if head is not None:
        raise UsageError("only the selected head predicts the test candidates: leave out --head, or --test")
    rows = _table(tables, "predictions", ("clip_id", "split", "label", "probabilities"))
    rows = [row for row in rows if row["split"] == "test"]
    truth = _column(_table(tables, "truth", ("clip_id", "label")), "label")
    said = {str(row["clip_id"]): _numbers(row) or [] for row in rows}
    run, groups = _trained_run(tables), _column(_table(tables, "manifest", ("clip_id", "group")), "group")
    title = f"{tables.title}, {run.selected}, test candidates"
    return Answers(title, _column(rows, "label"), truth, groups, run.classes, said)


def _of_head(rows: list[Row], head: str, heads: Sequence[str], where: str) -> list[Row]:
    if head not in heads:
        raise UsageError(f"{where} has no predictions of a head '{head}'{did_you_mean(head, heads)}")
    return [row for row in rows if row["head"] == head]


def _trained_run(tables: Tables) -> TrainedRun:
    if "train" not in tables.metrics:
        raise StageError(f"{tables.title} has no metrics/train.json; make it with `dvc repro train`")
    return TrainedRun.parse(tables.metrics["train"], f"metrics/train.json of {tables.title}")


def _table(tables: Tables, name: str, columns: Sequence[str]) -> list[Row]:
    if name not in tables.tables:
        raise StageError(f"{tables.title} has no table {name}; make it with `dvc repro`")
    return [row for part in tables.tables[name] for row in _rows(part, columns)]


def _numbers(row: Row) -> list[float] | None:
    """Return the numbers behind a predicted label: probabilities, or the numbers of a regression."""
    found = row.get("probabilities", row.get("values"))
    return found if isinstance(found, list) else None


def _rows(part: Part, columns: Sequence[str]) -> list[Row]:
    with part.parquet() as file:
        if "values" in file.schema_arrow.names:  # predicted numbers stand in the place of probabilities
            columns = ["values" if name == "probabilities" else name for name in columns]
        for column in columns:
            if column not in file.schema_arrow.names:
                raise StageError(f"{part.path} has no column '{column}', so it holds no predictions of this project")
        rows: list[Row] = file.read(list(columns)).to_pylist()
    return rows


def _file(path: Path) -> Part:
    return Part(str(path), lambda: path.open("rb"))


def _column(rows: Sequence[Row], name: str) -> dict[str, str]:
    return {str(row["clip_id"]): str(row[name]) for row in rows}
