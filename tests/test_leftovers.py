"""What kills leave behind is named and removed, and nothing that a living process uses."""

from __future__ import annotations

import fcntl
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mer_pipeline.base.atomic import TEMPORARY, sweep
from mer_pipeline.config.project import Project
from mer_pipeline.stage.leftovers import clear_leftovers
from mer_pipeline.tables.shards import new_folder
from tests.project import ROOT, dvc

HOLD = """
import sys, time
from pathlib import Path
from mer_pipeline.base.atomic import replacing
from mer_pipeline.tables.shards import new_folder
with new_folder(Path("data/frames")) as folder, replacing(Path("data/labels.parquet")) as file:
    (folder / "part").write_text("half")
    file.write_text("half")
    print("there", flush=True)
    time.sleep(100)
"""


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def temporaries() -> list[str]:
    return sorted(path.name.split(".")[1] for path in Path("data").glob(f".*{TEMPORARY}"))


@pytest.mark.outcome(
    "temporary files and folders among the tables, `data/.NAME.….tmp`",
    "removes those that no process holds, and names them",
)
def test_what_a_kill_left_is_named_and_removed_and_what_lives_is_not() -> None:
    """A lock says which is which: no process, no lock."""
    Path("data/.faces.tmp").mkdir(parents=True)  # of a version before this one
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    assert clear_leftovers(Project()) == ["data/.faces.tmp was left behind by a run that was killed, and is removed"]
    assert temporaries() == ["frames", "labels"]
    process.kill()
    process.wait()
    said = clear_leftovers(Project())
    assert [line.partition(" ")[2] for line in said] == ["was left behind by a run that was killed, and is removed"] * 2
    assert list(Path("data").iterdir()) == []
    assert clear_leftovers(Project()) == []


def test_who_writes_a_table_removes_what_was_to_become_it() -> None:
    """Without a stage, too."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with new_folder(Path("data/frames")) as folder:
        (folder / "part").write_text("whole")
    assert temporaries() == ["labels"]
    assert Path("data/frames/part").read_text() == "whole"


@pytest.mark.outcome(
    "two runs at once",
    "they do not share a temporary file or folder, and the table of the one that ends last stays",
)
def test_two_runs_at_once_do_not_share_a_folder() -> None:
    """Each writes its own, and whichever ends last stays, whole."""

    def write(at: int) -> None:
        with new_folder(Path("data/frames")) as folder:
            for name in "abc":
                time.sleep(0.002)
                (folder / name).write_text(str(at))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert sorted(path.name for path in Path("data").rglob("*")) == ["a", "b", "c", "frames"]
    assert len({path.read_text() for path in Path("data/frames").iterdir()}) == 1


@pytest.mark.outcome(
    "DVC's own `.dvc/tmp/rwlock`, empty or torn",
    "removes it where DVC does not write it just then",
)
@pytest.mark.parametrize("content", ["", '{"read": {"a"'])
def test_a_torn_lock_file_of_dvcs_is_removed(content: str) -> None:
    """Also one of the repository above the project; one that is whole is DVC's."""
    lock = Path(".dvc/tmp/rwlock")
    lock.parent.mkdir(parents=True)
    lock.write_text(content)
    below = Path("sub").absolute()
    below.mkdir()
    (said,) = clear_leftovers(Project(below))
    assert "rwlock was torn" in said
    assert not lock.exists()
    lock.write_text(json.dumps({"read": {}, "write": {}}))
    assert clear_leftovers(Project()) == []
    assert lock.exists()
    lock.write_text(content)
    with lock.with_name("rwlock.lock").open("w") as guard:  # as where DVC writes the file
        fcntl.flock(guard, fcntl.LOCK_EX)
        clear_leftovers(Project())
    assert lock.exists()


@pytest.mark.outcome(
    "temporary files and folders among the tables, `data/.NAME.….tmp`", "the next stage that starts removes"
)
@pytest.mark.outcome(
    "DVC's own `.dvc/tmp/rwlock`, empty or torn",
    "any stage that is started by itself, removes it",
)
def test_a_stage_removes_what_a_kill_left(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Each stage does so when it starts, says it, and does its work."""
    Path("words").mkdir()
    Path("words/clips.csv").write_text("name,label,transcript\na,happy,hello\nb,sad,no\n")
    Path("params.yaml").write_text(
        "dataset: {adapter: folder, media: false, root: words, csv: words/clips.csv}\n"
        "encoders: {words: {family: char-ngram, input: transcript}}\n"
    )
    Path("data/.faces.tmp").mkdir(parents=True)
    Path(".dvc/tmp").mkdir(parents=True)
    Path(".dvc/tmp/rwlock").write_text("")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "stages/ingest.py")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(sys.argv[0], run_name="__main__")
    assert not stop.value.code
    assert Path("data/manifest.parquet").exists()
    assert not Path("data/.faces.tmp").exists()
    assert not Path(".dvc/tmp/rwlock").exists()
    said = capfd.readouterr().err
    assert "data/.faces.tmp was left behind" in said
    assert "rwlock was torn" in said


@pytest.mark.outcome(
    "a missing folder, CSV or column", "DVC itself reports a missing folder or CSV, since it is a dependency"
)
def test_dvc_names_what_is_missing(tmp_path: Path) -> None:
    """The folder of a dataset is a dependency of `ingest`; DVC ends with 255 then, and wherever a stage fails."""
    deps = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["ingest"]["deps"]
    assert {"${dataset.root}", "${dataset.csv}"} <= set(deps)
    Path("dvc.yaml").write_text("stages: {ingest: {cmd: 'true', deps: [nowhere]}, frames: {cmd: exit 2}}")
    dvc(tmp_path, "init", "--no-scm")
    missing, failed = dvc(tmp_path, "repro", "ingest"), dvc(tmp_path, "repro", "frames")
    assert (missing.returncode, failed.returncode) == (255, 255)
    assert "dependency 'nowhere' does not exist" in missing.stderr


@pytest.mark.outcome(
    "DVC's own `.dvc/tmp/rwlock`, empty or torn",
    'every `dvc` refuses to run ("RWLock-file … JSON structure is corrupted"); `make repro`',
    "by hand: `rm .dvc/tmp/rwlock` while no `dvc` runs",
)
def test_dvc_runs_again(tmp_path: Path) -> None:
    """It refuses with the torn file, until that is removed by hand; `make repro` removes it first."""

    dvc(tmp_path, "init", "--no-scm")
    Path("dvc.yaml").write_text("stages: {one: {cmd: echo 1 > one, outs: [one]}}")
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text("")
    assert "JSON structure is corrupted" in dvc(tmp_path, "repro").stderr
    Path(".dvc/tmp/rwlock").unlink()
    assert dvc(tmp_path, "repro").returncode == 0
    Path(".dvc/tmp/rwlock").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "mer_pipeline.stage.leftovers"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "rwlock was torn" in done.stderr
    assert dvc(tmp_path, "repro").returncode == 0
    assert "mer_pipeline.stage.leftovers" in (ROOT / "Makefile").read_text()


def test_sweeping_where_there_is_nothing_is_nothing() -> None:
    """A new project has no folders."""
    assert sweep(Path("none")) == []
