"""A file is whole or not there, whoever writes it and whoever is killed while doing so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mer_pipeline.base.atomic import atomic_write, replacing

WRITE = """
import sys
from pathlib import Path
from mer_pipeline.base.atomic import atomic_write
while True:
    for letter in "ab":
        atomic_write(Path(sys.argv[1]), letter * 5_000_000)
"""


def test_folders_are_made_and_text_is_utf_8(tmp_path: Path) -> None:
    """Line ends stay as they are."""
    atomic_write(tmp_path / "a/b/c.txt", "你好\r\n")
    assert (tmp_path / "a/b/c.txt").read_bytes() == "你好\r\n".encode()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.txt"]


@pytest.mark.parametrize("how", [{}, {"shared": True}, {"durable": True}])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, how: dict[str, bool]) -> None:
    """Whatever is raised."""
    atomic_write(tmp_path / "file", "old", **how)

    def fail() -> None:
        with replacing(tmp_path / "file", **how) as temporary:
            temporary.write_text("new, and half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_many_may_write_one_shared_file(tmp_path: Path) -> None:
    """The last one stays, and nobody stumbles over another."""
    texts = [str(at) * 100_000 for at in range(10)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: atomic_write(tmp_path / "file", text, shared=True), texts * 5))
    assert (tmp_path / "file").read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_a_kill_leaves_a_whole_file_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    """Ten times, somewhere in the middle."""
    path = tmp_path / "file"
    for at in range(10):
        process = subprocess.Popen([sys.executable, "-c", WRITE, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.05 + 0.01 * at)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        data = path.read_bytes()
        assert len(data) == 5_000_000
        assert len(set(data)) == 1
    atomic_write(path, "end")
    assert [left.name for left in tmp_path.iterdir()] == ["file"]
