"""The command `mer diff A B`: show what differs between two sides by value, and by how much.

A side is the folder of a project, a git revision of this project ("workspace" for its present files), or a store (a
folder or URL with `packs/` in it). For projects, every Parquet table below data/ and every value in metrics/*.json is
compared; for stores, the rows that both have. Nothing is written or checked out, because the tables of a revision are
read from DVC's cache. The exit code is 0 if the sides are equal within the tolerance, and 1 if not.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from mer_pipeline.base.errors import StageError, UsageError
from mer_pipeline.config.project import Project
from mer_pipeline.tables.compare import DIGESTS, TableDiff, compare_tables
from mer_pipeline.tables.leaves import leaves_part
from mer_pipeline.tables.parts import ParquetSide, Part

WORKSPACE = "workspace"
NESTED = ("features", "votes")  # folders below data/ whose own folders are tables
SMALL = 64 << 20  # bytes; files up to this size are first compared byte by byte
COUNTS = ("rows A", "rows B", "only A", "only B", "equal", "within", "beyond", "digest only")  # fields of a TableDiff
FOREIGN = {"dvc", "dvc_data", "dvc_objects", "scmrepo", "botocore"}  # libraries that raise errors about access


@dataclass(frozen=True)
class Tables:
    """The tables of one side.

    Attributes:
        title: the name of the side, for messages.
        tables: the parts of each table, by the table's name.
        metrics: the bytes of each metric file, by its name without `.json`.
        is_store: whether the side is a store, whose rows are identified by their input digests alone.
    """

    title: str
    tables: dict[str, list[Part]] = field(default_factory=dict)
    metrics: dict[str, bytes] = field(default_factory=dict)
    is_store: bool = False


def find_side(text: str, project: Project) -> Tables:
    """Find the side that a user names.

    Args:
        text: a folder, a git revision, "workspace", or a URL.
        project: the project in which revisions are looked up.

    Raises:
        UsageError: the text names nothing that can be compared.
        StageError: the side cannot be read, or a revision is not in DVC's cache.
    """
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    if "://" in text:
        with _readable(f"store {text}", "a URL that this machine can reach"):
            fs, root = fsspec.url_to_fs(text, use_listings_cache=False, skip_instance_cache=True)
            return _store(text, fs, root)
    side = project if text == WORKSPACE else Project(Path(text))
    folder = side.root.absolute()
    if (folder / "packs").is_dir():
        return _store(text, LocalFileSystem(), folder.as_posix())
    if side.data.is_dir():
        return _project(text, LocalFileSystem(), Project(folder), "`dvc repro`")
    commit, inside = _commit(text, project)
    from dvc.api import DVCFileSystem

    fs = DVCFileSystem(url=str(project.root.absolute()), rev=commit, subrepos=True)
    remedy = f"`dvc pull`, or `dvc fetch --all-commits` (this is of commit {commit[:7]})"
    return _project(f"{text} ({commit[:7]})", fs, Project(inside), remedy)


def figures_of(stage: str) -> str:
    """Return the name that a stage's metric file has among the tables, such as "metrics/train"."""
    return Project().metrics(stage).with_suffix("").as_posix()


def _commit(text: str, project: Project) -> tuple[str, Path]:
    """Return the commit that a revision names, and the project's path inside its repository."""
    root = project.root.absolute()
    git = ["git", "-C", str(root), "rev-parse"]
    words = ["--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}"]
    with _readable(f"revision '{text}'", "git, which must be installed"):
        done = subprocess.run([*git, *words], capture_output=True, text=True)
        prefix = subprocess.run([*git, "--show-prefix"], capture_output=True, text=True).stdout.strip()
    if done.returncode:
        raise UsageError(
            f"'{text}' is no folder with data/ or packs/ and no git revision of {root}; "
            f'name a project, a revision or "{WORKSPACE}", or a store'
        )
    above = [root, *root.parents][: len(Path(prefix).parts) + 1]  # from the project up to the repository's folder
    if not any((folder / ".dvc").is_dir() for folder in above):
        raise UsageError(f"'{text}' is a git revision, and {root} has no .dvc/: run this in the project")
    return done.stdout.strip(), Path(prefix)


def _project(title: str, fs: Any, project: Project, remedy: str) -> Tables:
    """Return the tables and metrics of a project, whose root is a path in the file system `fs`."""
    tables: dict[str, list[Part]] = {}
    files = _files(fs, project.data.as_posix(), 2, remedy)
    for nested in NESTED:
        below = _files(fs, project.table(nested).as_posix(), 2, remedy)
        files += [(f"{nested}/{path}", part) for path, part in below if "/" in path]
    for path, part in files:
        if path.endswith(".parquet"):
            name = re.sub(r"/part-\d+\.parquet$|\.parquet$", "", path)
            tables.setdefault(name, []).append(part)
    if not tables:
        raise UsageError(
            f"{title} has no tables below {project.data}: run this in the project's folder, or `dvc repro` makes them"
        )
    metrics: dict[str, bytes] = {}
    for path, part in _files(fs, project.metrics_folder.as_posix(), 1, remedy):
        if path.endswith(".json"):
            name = path.removesuffix(".json")
            with _readable(part.path, remedy), part.open() as file:
                metrics[name] = file.read()
                tables[figures_of(name)] = [leaves_part(part.path, json.loads(metrics[name]))]
    return Tables(title, tables, metrics)


def _store(title: str, fs: Any, root: str) -> Tables:
    """Return the packs of a store, by transform and fingerprint."""
    tables: dict[str, list[Part]] = {}
    for path, part in _files(fs, f"{root.rstrip('/')}/packs", 3, "the store"):
        if path.count("/") == 2 and path.endswith(".parquet") and not path.endswith(".problems.parquet"):
            tables.setdefault(path.rpartition("/")[0], []).append(part)
    if not tables:
        raise UsageError(f"there are no rows in the store {title}: it has no packs/<transform>/<fingerprint>/*.parquet")
    return Tables(title, tables, is_store=True)


def _files(fs: Any, folder: str, depth: int, remedy: str) -> list[tuple[str, Part]]:
    """Return the files below a folder, down to a depth, by their paths in it. Unfinished files are left out."""
    with _readable(folder, remedy):
        found = fs.find(folder, maxdepth=depth, detail=True)
    parts = []
    for path, info in sorted(found.items()):
        inside = path[len(folder) :].lstrip("/")
        if not any(piece.startswith(".") for piece in inside.split("/")):
            size = None if info.get("md5") else info.get("size")
            parts.append((inside, Part(path, partial(_open, fs, path, remedy), size, info.get("md5"))))
    return parts


def _open(fs: Any, path: str, remedy: str) -> IO[bytes]:
    with _readable(path, remedy):
        opened: IO[bytes] = fs.open(path, "rb")
        return opened


@contextmanager
def _readable(what: str, remedy: str) -> Iterator[None]:
    """Turn errors of reading into StageError, with a one-sentence message and a remedy."""
    try:
        yield
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if library not in FOREIGN and not isinstance(error, OSError | ValueError | ImportError):
            raise
        raise StageError(f"{what} cannot be read ({error}); get it with {remedy}") from None


def compare(a: Tables, b: Tables, tolerance: float) -> list[TableDiff]:
    """Compare all tables of two sides, in the order of their names.

    Raises:
        UsageError: one side is a store and the other is not.
        StageError: a table cannot be read.
    """
    if a.is_store != b.is_store:
        raise UsageError(f"{a.title} and {b.title} are of two kinds: compare stores, or projects and revisions")
    found = []
    for name in sorted(a.tables.keys() | b.tables.keys()):
        parts_a, parts_b, same = a.tables.get(name, []), b.tables.get(name, []), 0
        if not a.is_store:  # in a store, several packs may have the same row, so equal packs cannot be left out
            parts_a, parts_b, same = _without_equal(parts_a, parts_b)
        key = "input_digest" if a.is_store else None
        found.append(compare_tables(name, ParquetSide(parts_a), ParquetSide(parts_b), tolerance, key=key, same=same))
    return found


def _without_equal(a: list[Part], b: list[Part]) -> tuple[list[Part], list[Part], int]:
    """Leave out the parts whose bytes are equal on both sides; also return the number of rows in these parts."""
    named = {part.path.rpartition("/")[2]: part for part in b}
    pairs = [(part, named.get(part.path.rpartition("/")[2])) for part in a]
    equal = [(mine, other) for mine, other in pairs if other is not None and _same_bytes(mine, other)]
    rows = 0
    for part, _ in equal:
        with part.parquet() as file:
            rows += file.metadata.num_rows
    gone = {id(part) for pair in equal for part in pair}
    return [part for part in a if id(part) not in gone], [part for part in b if id(part) not in gone], rows


def _same_bytes(a: Part, b: Part) -> bool:
    if a.etag is not None and b.etag is not None:
        return a.etag == b.etag
    if a.size is None or a.size != b.size or a.size > SMALL:
        return False
    with a.open() as mine, b.open() as other:
        return mine.read() == other.read()


def report(a: Tables, b: Tables, found: Sequence[TableDiff], tolerance: float) -> list[tuple[str, bool]]:
    """Return the result as lines of text, each with whether it is about a difference."""
    fields = [name.lower().replace(" ", "_") for name in COUNTS]
    rows = [["table", *COUNTS], *([diff.table, *(str(getattr(diff, name)) for name in fields)] for diff in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [(text, False) for text in (f"A: {a.title}", f"B: {b.title}", f"tolerance: {tolerance:g}", "")]
    for row, differs in zip(rows, [False, *(diff.differs for diff in found)], strict=True):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(("  ".join(cells), differs))
    for diff in found:
        if details := detail_lines(diff):
            lines += [("", False), (f"{diff.table}:", False), *((f"  {line}", diff.differs) for line in details)]
    both = sum(diff.rows_a - diff.only_a for diff in found)
    differs = any(diff.differs for diff in found)
    verdict = "different" if differs else "equal" if not tolerance else "equal within the tolerance"
    return [*lines, ("", False), (f"{verdict}; rows on both sides: {both}", differs)]


def detail_lines(diff: TableDiff) -> list[str]:
    """Return lines about one table that say more than its counts."""
    lines = [f"column {name} only in A" for name in diff.columns_a]
    lines += [f"column {name} only in B" for name in diff.columns_b]
    lines += [*diff.notes, *(diff.missing if diff.one_sided_differs else [])]
    for name, column in diff.columns.items():
        lines.append(f"{name} differs in {column.rows} rows{_amounts(', at most', column.absolute, column.relative)}")
    for example in diff.examples:
        if example.column in DIGESTS:
            lines.append(f"{example.row}: {example.column} differs, the values are equal")
        else:
            amounts = _amounts(" by", example.absolute, example.relative)
            lines.append(f"{example.row}: {example.column} differs{amounts} ({example.a} and {example.b})")
    return lines


def _amounts(word: str, absolute: float, relative: float) -> str:
    return "" if math.isnan(absolute) else f"{word} {absolute:.3g} (relative {relative:.3g})"


def as_json(a: Tables, b: Tables, found: Sequence[TableDiff], tolerance: float) -> str:
    """Return the result as JSON, with null in place of NaN and infinity."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    tables = [{**asdict(diff), "differs": diff.differs} for diff in found]
    whole = {"a": a.title, "b": b.title, "tolerance": tolerance, "differs": any(diff.differs for diff in found)}
    return json.dumps(plain({**whole, "tables": tables}), indent=1, ensure_ascii=False)


def run_diff(a: str, b: str, tolerance: float, project: Project, *, json_wanted: bool = False) -> int:
    """Compare two sides, print the result, and return the exit code.

    Raises:
        UsageError: a side cannot be compared, or one is a store and the other is not.
        StageError: a table cannot be read.
    """
    from rich.console import Console
    from rich.text import Text

    side_a, side_b = find_side(a, project), find_side(b, project)
    found = compare(side_a, side_b, tolerance)
    if json_wanted:
        print(as_json(side_a, side_b, found, tolerance))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for line, differs in report(side_a, side_b, found, tolerance):
            # A clip's name may contain any characters, also such as would control the terminal.
            shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
            console.print(Text(shown, style="bold red" if differs else ""))
    return int(any(diff.differs for diff in found))
