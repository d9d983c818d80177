"""`mer diff`: folders, revisions of a real git and DVC repository, and stores."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from mer_pipeline.base.errors import MerError, StageError, UsageError
from mer_pipeline.config.project import Project
from mer_pipeline.tables.rows import complete_row, stage_schema, to_table
from mer_pipeline.tables.shards import shard_of, write_shard, write_table

VALUES = pa.schema([("vector", pa.list_(pa.float32(), 2))])
CLIPS = ("anna", "ben", "明")


def write_features(root: Path, name: str = "voice", shards: int = 2, **changed: float) -> None:
    """Features that are functions of the clip's name, but for some."""
    for bucket in range(shards):
        chosen = [clip for clip in CLIPS if shard_of(clip, shards) == bucket]
        vectors = {clip: np.array([len(clip), changed.get(clip, 2)], np.float32) for clip in chosen}
        rows = [complete_row(clip, f"i{clip}", {"vector": vectors[clip]}, None, VALUES) for clip in chosen]
        write_shard(root / "data/features" / name, bucket, rows, stage_schema(VALUES), {})


def write_project(root: Path, f1: float = 0.75, label: str = "happy") -> Path:
    """Tables of each kind, metrics, and files that are none."""
    write_features(root)
    write_table(
        root / "data/votes/given.parquet",
        pa.table({"clip_id": ["a", "a"], "source": ["x", "y"], "label": ["sad", label]}),
    )
    write_table(root / "data/truth.parquet", pa.table({"clip_id": list(CLIPS), "label": ["sad"] * 3}))
    (root / "data/demo/video").mkdir(parents=True, exist_ok=True)
    (root / "data/demo/video/raw.parquet").write_text("the dataset's own")
    (root / "data/.frames.tmp").mkdir(exist_ok=True)
    (root / "data/.frames.tmp/part-00000.parquet").write_text("not finished")
    (root / "metrics").mkdir(exist_ok=True)
    metrics = {"heads": [{"f1": f1, "name": "ecmf"}], "n": 3, "empty": None, "selected": {}}
    (root / "metrics/train.json").write_text(json.dumps(metrics))
    return root


app = typer.Typer()


@app.command()
def diff(
    a: Annotated[str, typer.Argument()],
    b: Annotated[str, typer.Argument()],
    tolerance: Annotated[float, typer.Option(min=0.0)] = 0.0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    from mer_pipeline.cli.diff import run_diff

    raise typer.Exit(run_diff(a, b, tolerance, Project(), json_wanted=as_json))


def run(*words: object) -> Result:
    """The command; errors of this project come through."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, MerError):
        raise done.exception
    return done


def tables(done: Result) -> dict[str, dict[str, object]]:
    """Of a --json result."""
    return {table["table"]: table for table in json.loads(done.stdout)["tables"]}


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two equal projects; the first one is the current folder."""
    a, b = write_project(tmp_path / "a [1]"), write_project(tmp_path / "b")
    monkeypatch.chdir(a)
    return a, b


class TestProjects:
    """Two folders."""

    def test_equal_however_sharded(self, pair: tuple[Path, Path]) -> None:
        """Every table is looked at, and nothing that is none."""
        shutil.rmtree(pair[1] / "data/features/voice")
        write_features(pair[1], shards=3)
        done = run(*pair)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == "equal; rows on both sides: 13"
        found = tables(run("workspace", pair[1], "--json"))
        assert found.keys() == {"features/voice", "votes/given", "truth", "metrics/train"}
        assert [found["features/voice"][name] for name in ("rows_a", "rows_b", "equal", "differs")] == [3, 3, 3, False]

    def test_what_differs_is_named(self, pair: tuple[Path, Path]) -> None:
        """Table, clip, column and amount; exit code 1."""
        write_features(pair[1], ben=2.5)
        done = run(*pair)
        assert done.exit_code == 1
        assert "\x1b" not in done.stdout
        head = "table rows A rows B only A only B equal within beyond digest only"
        assert " ".join(done.stdout.splitlines()[4].split()) == head
        assert "features/voice       3       3       0       0      2       0       1            0\n" in done.stdout
        assert "  vector differs in 1 rows, at most 0.5 (relative 0.2)\n" in done.stdout
        assert "  ben: vector differs by 0.5 (relative 0.2) (2 values and 2 values)\n" in done.stdout
        assert "votes/given:" not in done.stdout

    def test_tolerance(self, pair: tuple[Path, Path]) -> None:
        """Within it nothing is different, though digests are."""
        write_features(pair[1], ben=2.001)
        assert run(*pair).exit_code == 1
        assert run(*pair, "--tolerance", "0.01").exit_code == 0
        done = run(*pair, "--tolerance", "0.01", "--json")
        assert (done.exit_code, tables(done)["features/voice"]["within"]) == (0, 1)

    def test_metrics_and_votes(self, pair: tuple[Path, Path]) -> None:
        """Numbers by their path, text as it is; votes by clip and source."""
        write_project(pair[1], f1=0.5, label="angry")
        done = run(*pair, "--json")
        found = tables(done)
        assert done.exit_code == 1
        (example,) = found["metrics/train"]["examples"]
        assert (example["row"], example["column"], example["absolute"]) == ("heads.0.f1", "number", 0.25)
        (example,) = found["votes/given"]["examples"]
        assert (example["row"], example["absolute"], example["a"], example["b"]) == (
            "a, source=y",
            None,
            "'happy'",
            "'angry'",
        )

    def test_rows_and_tables_on_one_side(self, pair: tuple[Path, Path]) -> None:
        """A difference, and said."""
        write_features(pair[1], name="words")
        write_table(pair[1] / "data/truth.parquet", pa.table({"clip_id": ["ben"], "label": ["sad"]}))
        (pair[1] / "metrics/train.json").unlink()
        done = run(*pair)
        assert done.exit_code == 1
        assert "anna only in A" in done.stdout
        assert "heads.0.f1 only in A" in done.stdout
        found = tables(run(*pair, "--json"))
        assert (found["features/words"]["only_b"], found["truth"]["only_a"], found["truth"]["equal"]) == (3, 2, 1)

    def test_how_it_was_written_does_not_count(self, pair: tuple[Path, Path]) -> None:
        """Another writer, other settings, another footer."""
        for path in (pair[1] / "data").rglob("*.parquet"):
            if "demo" not in path.parts and not path.parent.name.startswith("."):
                pq.write_table(pq.read_table(path), path, compression="snappy", version="1.0", row_group_size=1)
        assert run(*pair).exit_code == 0

    def test_a_clips_name_is_not_obeyed(self, pair: tuple[Path, Path]) -> None:
        """Neither escape sequences nor rich's markup."""
        for project, label in zip(pair, ("x", "y"), strict=True):
            write_table(project / "data/truth.parquet", pa.table({"clip_id": ["\x1b[2J[bold]\n"], "label": [label]}))
        done = run(*pair)
        assert r"\x1b[2J[bold]\n: label differs ('x' and 'y')" in done.stdout
        assert "\x1b" not in done.stdout

    def test_json_is_json(self, pair: tuple[Path, Path]) -> None:
        """No NaN or Infinity, which other readers refuse."""
        for project, value in zip(pair, (np.nan, 0.0), strict=True):
            write_features(project, ben=value)
        write_features(pair[0], anna=1.0)
        write_features(pair[1], anna=0.0, ben=np.inf)

        def refuse(word: str) -> None:
            raise AssertionError(word)

        text = run(*pair, "--json").stdout
        found = json.loads(text, parse_constant=refuse)
        assert {"a", "b", "tolerance", "differs", "tables"} == found.keys()

    def test_a_torn_table(self, pair: tuple[Path, Path]) -> None:
        """One sentence with its path."""
        path = pair[1] / "data/truth.parquet"
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(StageError, match=r"b/data/truth.parquet is torn or no Parquet file"):
            run(*pair)
        (pair[1] / "metrics/train.json").write_text("{")
        with pytest.raises(StageError, match=r"train.json cannot be read"):
            run(*pair)


def test_usage_errors(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """What is no side, or not of one kind; exit code 2."""
    with pytest.raises(UsageError, match="'nothing' is no folder with data/ or packs/ and no git revision"):
        run("nothing", "workspace")
    with pytest.raises(UsageError, match="is no folder"):
        run("workspace", "--", "--upload-pack=touch x")
    (tmp_path / "empty/data").mkdir(parents=True)
    with pytest.raises(UsageError, match="has no tables") as caught:
        run("workspace", tmp_path / "empty")
    assert caught.value.exit_code == 2
    assert run("workspace", "workspace", "--tolerance", "-1").exit_code == 2
    with pytest.raises(StageError, match="cannot be read"):
        run("nokind://x", "workspace")
    write_pack(tmp_path / "store", "f", "x", [("a", "i", 0)])
    with pytest.raises(UsageError, match="of two kinds"):
        run("workspace", tmp_path / "store")


@pytest.fixture(scope="module", params=["", "deep/project", "below"])
def history(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A project with two tagged versions of its tables in DVC's cache. It is the repository, or a folder in it; and in
    the last case DVC was set up for the whole repository."""
    top = tmp_path_factory.mktemp("history")
    root = top / request.param
    root.mkdir(parents=True, exist_ok=True)
    mine = {"DVC_SITE_CACHE_DIR": str(tmp_path_factory.mktemp("site")), "DVC_NO_ANALYTICS": "1"}
    names = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    tools = str(Path(sys.executable).parent)

    def call(*words: str, where: Path = root) -> None:
        path = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(words, cwd=where, env=os.environ | names | path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    call("git", "init", "-q", where=top)
    if request.param == "below":
        call("dvc", "init", "-q", where=top)
    else:
        call("dvc", "init", "-q", *(["--subdir"] if request.param else []))
    outs = ["data/features/voice", "data/truth.parquet", "data/votes/given.parquet"]
    (root / "dvc.yaml").write_text(json.dumps({"stages": {"all": {"cmd": "true", "outs": outs}}}))
    (root / ".gitignore").write_text("".join(f"/{out}\n" for out in outs))
    for version, f1 in (("v1", 0.75), ("v2", 0.5)):
        write_project(root, f1)
        write_features(root, ben=f1)
        call("dvc", "commit", "-q", "-f")
        call("git", "add", "-A")
        call("git", "commit", "-qm", version)
        call("git", "tag", version)
    yield root
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


class TestRevisions:
    """A git revision's tables come from DVC's cache, its metrics from git."""

    def test_two_revisions(self, history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Values of both; nothing is checked out."""
        monkeypatch.chdir(history)
        before = {path: path.stat().st_mtime_ns for path in history.rglob("data/**/*")}
        done = run("v1", "v2", "--json")
        assert done.exit_code == 1
        found = tables(done)
        (example,) = found["features/voice"]["examples"]
        assert (example["row"], example["absolute"]) == ("ben", 0.25)
        assert found["metrics/train"]["examples"][0]["row"] == "heads.0.f1"
        assert [name for name, table in found.items() if not table["differs"]] == ["truth", "votes/given"]
        assert {path: path.stat().st_mtime_ns for path in history.rglob("data/**/*")} == before

    def test_a_revision_and_the_workspace(self, history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """HEAD is what was committed; the workspace is what is there now."""
        monkeypatch.chdir(history)
        assert run("HEAD", "workspace").exit_code == 0
        assert run("v2", history).exit_code == 0
        assert run("HEAD~1", "v1").exit_code == 0
        assert run("v1", "workspace", "--tolerance", "0.3").exit_code == 0
        shutil.copytree(history / "data", history / "kept", symlinks=True)
        write_features(history, anna=7)
        try:
            done = run("HEAD", "workspace")
            assert done.exit_code == 1
            assert "anna: vector differs by 5" in done.stdout
        finally:
            shutil.rmtree(history / "data")
            (history / "kept").rename(history / "data")

    def test_a_folder_that_is_no_project(self, history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A revision is looked up where the command runs, and the sentence says where that is."""
        monkeypatch.chdir(history / "data")
        with pytest.raises(UsageError, match=r"has no tables below .*data/data: run this in the project's folder"):
            run("HEAD", "workspace")

    def test_equal_files_are_not_opened_for_values(self, history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """DVC knows the hashes."""
        from mer_pipeline.cli import diff as module

        monkeypatch.chdir(history)
        compared: list[int] = []

        def watched(table: str, a: object, b: object, *rest: object, same: int, **more: object) -> object:
            compared.append(len(a.parts))  # type: ignore[attr-defined]
            return kept(table, a, b, *rest, same=same, **more)

        kept: Callable[..., object] = module.compare_tables
        monkeypatch.setattr(module, "compare_tables", watched)
        sides = [module.find_side(text, Project(history)) for text in ("v1", "v2")]
        module.compare(*sides, 0.0)
        assert compared == [1, 1, 0, 0]  # features/voice: the shard of ben; metrics/train; truth; votes/given

    def test_not_in_the_cache(self, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fresh clone has the hashes alone; the sentence says what to do."""
        top = history if (history / ".git").is_dir() else next(up for up in history.parents if (up / ".git").is_dir())
        clone = tmp_path / "clone" / history.relative_to(top)
        subprocess.run(["git", "clone", "-q", top, tmp_path / "clone"], check=True)
        monkeypatch.chdir(clone)
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
        with pytest.raises(StageError, match=r"cannot be read .*dvc pull.*dvc fetch") as caught:
            run("v1", "v2")
        assert "\n" not in str(caught.value)
        with pytest.raises(UsageError, match="no git revision of"):
            run("v3", "v2")
        shutil.rmtree(next(up for up in (clone, *clone.parents) if (up / ".dvc").is_dir()) / ".dvc")
        with pytest.raises(UsageError, match=r"has no \.dvc/"):
            run("v1", "v2")


def write_pack(store: Path, fingerprint: str, name: str, rows: list[tuple[str, str, float]]) -> Path:
    """A pack as a store has it, of (clip, input, value)."""
    made = [
        complete_row(clip, f"in-{given}", {"vector": np.array([1, value], np.float32)}, None, VALUES)
        for clip, given, value in rows
    ]
    path = store / "packs/embed-voice" / fingerprint / f"{name}.parquet"
    write_table(path, to_table(made, stage_schema(VALUES)), {"fingerprint": fingerprint})
    return path


class TestStores:
    """Rows are known by transform, fingerprint and input."""

    def test_what_both_have_is_compared(self, tmp_path: Path) -> None:
        """The rest is counted and is no difference; names of clips and packs mean nothing; problems are left out."""
        a, b = tmp_path / "a", tmp_path / "b"
        write_pack(a, "f1", "x", [("c", "1", 1), ("d", "2", 2)])
        write_pack(a, "f1", "y", [("d", "2", 2)])
        write_pack(a, "f2", "x", [("c", "1", 1)])
        write_pack(b, "f1", "z", [("renamed", "1", 1), ("e", "3", 3), ("d", "2", 2)])
        write_table(b / "packs/embed-voice/f1/p.problems.parquet", pa.table({"input_digest": ["q"]}))
        (b / "packs/embed-voice/f1/fingerprint.json").write_text("{}")
        done = run(a, b, "--json")
        assert done.exit_code == 0
        found = tables(done)
        counts = ("rows_a", "rows_b", "only_a", "only_b", "equal")
        assert [found["embed-voice/f1"][name] for name in counts] == [2, 3, 0, 1, 2]
        assert [found["embed-voice/f2"][name] for name in counts] == [1, 0, 1, 0, 0]
        assert run(a, b).stdout.splitlines()[-1] == "equal; rows on both sides: 2"

    def test_a_row_of_another_value(self, tmp_path: Path) -> None:
        """As a GPU of another kind makes them."""
        write_pack(tmp_path / "a", "f", "x", [("c", "1", 1.0), ("d", "2", 5)])
        write_pack(tmp_path / "b", "f", "y", [("c", "1", 1.001), ("d", "2", 5)])
        done = run(tmp_path / "a", tmp_path / "b")
        assert done.exit_code == 1
        assert "c (input in-1): vector differs by 0.001" in done.stdout
        assert run(tmp_path / "a", tmp_path / "b", "--tolerance", "0.01").exit_code == 0

    def test_a_url(self, tmp_path: Path) -> None:
        """Any that fsspec knows."""
        path = write_pack(tmp_path / "a", "f", "x", [("c", "1", 1)])
        memory = fsspec.filesystem("memory")
        memory.pipe_file("/team/store/packs/embed-voice/f/other.parquet", path.read_bytes())
        try:
            assert run(tmp_path / "a", "memory://team/store").exit_code == 0
            assert run(f"file://{tmp_path / 'a'}", "memory://team/store/").exit_code == 0
            with pytest.raises(UsageError, match="no rows in the store memory://elsewhere"):
                run("memory://elsewhere", tmp_path / "a")
        finally:
            memory.rm("/team", recursive=True)

    def test_a_torn_pack(self, tmp_path: Path) -> None:
        """Is no difference but an error."""
        path = write_pack(tmp_path / "a", "f", "x", [("c", "1", 1)])
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(StageError, match=r"x\.parquet is torn"):
            run(tmp_path / "a", tmp_path / "a")
