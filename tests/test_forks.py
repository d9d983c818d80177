"""A fork of tests/forks.py is what a process of its own would be."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forks import python

SCRIPT = "import sys\nprint(sys.path[0], sys.argv, __name__)\nprint('said', file=sys.stderr)\nsys.exit(3)\n"


@pytest.mark.parametrize("words", [["deep/told.py"], ["-m", "told"], ["-c", SCRIPT], ["-P", "-m", "deep.told"]])
def test_words_mean_what_they_mean_to_python(words: list[str], tmp_path: Path) -> None:
    """The same first place of `sys.path`, arguments, streams and exit code."""
    for path in (tmp_path / "told.py", tmp_path / "deep/told.py"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(SCRIPT)
    env = {"PYTHONPATH": str(tmp_path)}
    fork, process = (
        subprocess.run([start, *words, "--more"], cwd=tmp_path, env=env, capture_output=True, text=True)
        for start in (python(), sys.executable)
    )
    assert (fork.stdout, fork.stderr, fork.returncode) == (process.stdout, process.stderr, process.returncode)
    assert (process.returncode, process.stderr) == (3, "said\n")


def test_a_killed_client_takes_its_child_with_it(tmp_path: Path) -> None:
    """The stream that they share is closed at once."""
    started = tmp_path / "started"
    code = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(300)"
    client = subprocess.Popen([python(), "-c", code], stdout=subprocess.PIPE)
    while not started.exists():
        time.sleep(0.01)
    client.kill()
    client.communicate(timeout=60)
    assert client.returncode == -signal.SIGKILL
