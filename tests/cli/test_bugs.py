"""A mistake in somebody's own encoder is shown as what it is: with its file and line, and not as broken clips."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mer_pipeline.cli.quarantine import list_text, problems
from tests.forks import python

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS = """
dataset: {adapter: folder, media: false, root: words, csv: words/clips.csv}
folds: {n: 2}
encoders:
  mine: {family: "components/mine.py:Mine", input: transcript}
shards: {count: 2}
quality: {max_failed: 0.5}
"""
MINE = '''
"""How long what is said is."""

from mer_pipeline.base.encoder import Encoder, EncoderParams


class Mine(Encoder):
    Params = EncoderParams

    def __init__(self, name, params):
        super().__init__(name, params, 1)

    def prepare(self, clip):
        words = clip.need("transcript")
        if WRONG:
            words = words["spoken"]  # there is no such column
        return len(words["en"])

    def infer(self, items):
        import numpy as np

        return [self.row(np.array([item], np.float32)) for item in items]
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Twenty clips that are words alone."""
    (tmp_path / "words").mkdir()
    (tmp_path / "components").mkdir()
    rows = [f"c{at:02d},{'happy' if at % 2 else 'sad'},s{at},{'hello ' * at} there" for at in range(20)]
    (tmp_path / "words/clips.csv").write_text("\n".join(["name,label,group,transcript", *rows]) + "\n")
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / ".mer.toml").write_text("device = 'cpu'\nbatch = 4\n")
    return tmp_path


def run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "MER_STORE"}
    command = [python(), str(ROOT / f"stages/{words[0]}.py"), *words[1:]]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)


def words_of(project: Path) -> None:
    """Make the table of words that the encoder reads."""
    for stage in ("ingest", "transcribe"):
        assert run(project, stage).returncode == 0


@pytest.mark.outcome(
    "terminal",
    "one line for each place in the code, with file, line and the first clip: `error: "
    "embed-mine: KeyError at components/mine.py:42 for 'c0017': 'face'`",
)
@pytest.mark.outcome(
    "`data/quarantine/STAGE.parquet`",
    "the clip with the class of what was raised, the message and the traceback (paths are "
    "relative, so the table says nothing of the machine)",
)
@pytest.mark.outcome(
    "in every clip of the first batch, where no row of this code is known from before",
    "the run ends at once: exit code 1, one sentence with file and line, the traceback in the log",
)
def test_a_key_error_in_a_new_encoder_shows_its_line(project: Path) -> None:
    """The stage ends at once with exit code 1. Standard error has one line with file and line and one sentence at the
    end; the traceback is in the log and in the quarantine."""
    (project / "components/mine.py").write_text(MINE.replace("WRONG", "True"))
    words_of(project)
    done = run(project, "embed", "mine")
    line = MINE.splitlines().index('            words = words["spoken"]  # there is no such column') + 1
    place = f"components/mine.py:{line}"
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first.startswith(f"error: embed-mine: KeyError at {place} for 'c")
    assert last.startswith(f"error: embed-mine: KeyError at {place}: 'spoken'; all of the first ")
    assert last.endswith("(traceback: .mer/logs/embed-mine.log)")
    log = (project / ".mer/logs/embed-mine.log").read_text()
    problem = pq.read_table(project / "data/quarantine/embed-mine.parquet").to_pylist()[0]
    assert problem["error"] == "KeyError"
    assert problem["traceback"] in log
    assert f'File "components/mine.py", line {line}, in prepare\n    words = words["spoken"]' in log
    assert str(project) not in log + done.stderr
    assert not (project / "data/features/mine").exists()


@pytest.mark.outcome(
    "terminal",
    "one line for each place in the code, with file, line and the first clip: `error: "
    "embed-mine: KeyError at components/mine.py:42 for 'c0017': 'face'`",
)
@pytest.mark.outcome("`.mer/logs/STAGE.log`", "a line for every clip, with the whole traceback")
def test_a_bug_that_few_clips_meet_is_listed_as_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on; each place is said once on standard error, and `mer quarantine list` says what is a bug."""
    (project / "components/mine.py").write_text(MINE.replace("WRONG", 'len(words["en"]) > 100'))
    words_of(project)
    done = run(project, "embed", "mine")
    assert done.returncode == 0
    assert done.stdout.startswith("embed-mine: 16 of 20 clips in ")
    assert done.stdout.rstrip().endswith("; 4 quarantined (4 KeyError)")
    (only,) = done.stderr.splitlines()
    assert "KeyError at components/mine.py:" in only
    assert (project / ".mer/logs/embed-mine.log").read_text().count("Traceback (most recent call last)") == 4
    monkeypatch.chdir(project)
    lines = list_text(problems("mine")).splitlines()
    assert len([line for line in lines if line.endswith("'spoken' (a bug; traceback: .mer/logs)")]) == 4
    assert lines[-1] == "4 in all; `mer quarantine retry STAGE` tries a stage's clips again"


@pytest.mark.outcome(
    "outside of the clips (in `labels`, `train`, the runner)",
    "the stage ends with its traceback",
)
def test_a_bug_outside_of_the_clips_ends_the_stage_with_its_traceback(project: Path) -> None:
    """In a component that cannot even be made: no sentence can say more than the line."""
    broken = MINE.replace("super().__init__(name, params, 1)", "super().__init__(name, params, [][0])")
    (project / "components/mine.py").write_text(broken)
    words_of(project)
    done = run(project, "embed", "mine")
    line = broken.splitlines().index("        super().__init__(name, params, [][0])") + 1
    assert done.returncode == 1
    assert f'File "components/mine.py", line {line}, in __init__' in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"error: IndexError at components/mine.py:{line}, which is a bug (log: .mer/logs/embed-mine.log)"
    )
    assert "IndexError: list index out of range" in (project / ".mer/logs/embed-mine.log").read_text()
