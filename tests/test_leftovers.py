"""What kills leave behind is named and removed, and nothing that a living process uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mer_pipeline.base.atomic import TEMPORARY, sweep
from mer_pipeline.config.project import Project
from mer_pipeline.stage.leftovers import clear_leftovers
from mer_pipeline.tables.shards import new_folder
from tests.project import ROOT

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


def test_dvc_runs_again(tmp_path: Path) -> None:
    """It refuses with the torn file; `make repro` removes it first."""

    def dvc(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True)

    dvc("init", "--no-scm")
    Path("dvc.yaml").write_text("stages: {one: {cmd: echo 1 > one, outs: [one]}}")
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text("")
    assert "JSON structure is corrupted" in dvc("repro").stderr
    done = subprocess.run(
        [sys.executable, "-m", "mer_pipeline.stage.leftovers"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "rwlock was torn" in done.stderr
    assert dvc("repro").returncode == 0
    assert "mer_pipeline.stage.leftovers" in (ROOT / "Makefile").read_text()


def test_sweeping_where_there_is_nothing_is_nothing() -> None:
    """A new project has no folders."""
    assert sweep(Path("none")) == []
