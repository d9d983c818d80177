"""`mer doctor` names what would stop a run, each thing with its remedy, and changes nothing."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from mer_pipeline.base.atomic import TEMPORARY
from mer_pipeline.cli.doctor import Finding, doctor, findings
from mer_pipeline.config.project import Project

PARAMS = """
dataset: {adapter: folder, media: false, root: words, csv: words/clips.csv}
encoders:
  words: {family: char-ngram, input: transcript}
"""
CLOSED = "http://127.0.0.1:9"  # the port of the service "discard", which nothing here offers


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two clips that are words alone, in which nothing is wrong."""
    (tmp_path / "words").mkdir()
    (tmp_path / "words/clips.csv").write_text("name,label,transcript\na,happy,hello\nb,sad,no\n")
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    monkeypatch.delenv("MER_STORE", raising=False)
    return tmp_path


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers 401 without the key "right", and 200 with it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Authorization"] == "Bearer right" else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            del args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def files_of(folder: Path) -> dict[str, bytes | None]:
    """All files and folders with what they hold."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def found(what: str) -> list[Finding]:
    return [one for one in findings(Project()) if one.what == what]


def test_a_sound_project(capsys: pytest.CaptureFixture[str]) -> None:
    """Every check has its line, none is wrong, and the exit code is 0."""
    assert doctor(Project()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all is well"
    seen = [line[6:18].strip() for line in lines[:-1]]
    names = "Python libraries code decoder settings params disk DVC device store dataset hub"
    assert seen == names.split()


@pytest.mark.outcome(
    "DVC's own `.dvc/tmp/rwlock`, empty or torn",
    "`mer doctor` names it and changes nothing",
)
def test_a_torn_lock_of_dvc(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with what to do, and nothing is changed."""
    torn = project / ".dvc/tmp/rwlock"
    torn.write_bytes(b"")
    before = files_of(project)
    assert doctor(Project()) == 1
    assert (
        "wrong DVC         .dvc/tmp/rwlock is torn: run `make repro`, or remove it while no dvc runs"
        in capsys.readouterr().out.splitlines()
    )
    assert files_of(project) == before


@pytest.mark.outcome(
    "temporary files and folders among the tables, `data/.NAME.….tmp`", "`mer doctor` names them and changes nothing"
)
def test_leftovers_of_a_kill(project: Path) -> None:
    """They are named, do no harm, and nothing is changed."""
    left = project / f"data/.frames.1{TEMPORARY}"
    left.mkdir(parents=True)
    before = files_of(project)
    (one,) = found("leftovers")
    assert one.state == "note"
    assert one.text.startswith(f"data/{left.name} was left behind by a run that was killed")
    assert doctor(Project()) == 0
    assert files_of(project) == before


def test_every_missing_checkpoint_is_named(project: Path) -> None:
    """Not the first one only, each with what to do; the other encoders are looked at, too."""
    more = "  one: {family: hf-text, input: transcript, checkpoint: 'hf:org/one'}\n"
    (project / "params.yaml").write_text(PARAMS + more + more.replace("one", "two"))
    wrong = found("checkpoint")
    assert [one.state for one in wrong] == ["wrong", "wrong"]
    assert "hf:org/one" in wrong[0].text
    assert "hf:org/two" in wrong[1].text
    assert all("run `mer models fetch`" in one.text for one in wrong)


def test_a_checkpoint_is_there_and_locked(project: Path) -> None:
    """Without its line in models.lock a stage would refuse it; with it, all is well."""
    from mer_pipeline.models.lock import lock_models
    from mer_pipeline.models.tiny import make_tiny

    spec = f"dir:{make_tiny('bert', project / 'models/bert', 0)}"
    (project / "params.yaml").write_text(
        PARAMS + f"  bert: {{family: hf-text, input: transcript, checkpoint: '{spec}'}}\n"
    )
    (unlocked,) = found("checkpoint")
    assert unlocked.state == "wrong"
    assert "mer models lock" in unlocked.text
    lock_models({"bert": spec})
    assert [str(one) for one in found("checkpoint")] == [f"ok    checkpoint  bert: {spec}"]


def test_the_language_models_server(project: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked where params.yaml names one: absent, without the key, with the key."""
    assert found("LLM server") == []
    (project / "params.yaml").write_text(PARAMS + "enrich: {backend: openai, model: m}\n")
    monkeypatch.setenv("MER_LLM_URL", CLOSED + "/v1")
    (one,) = found("LLM server")
    assert (one.state, "nothing answers" in one.text, "MER_LLM_URL" in one.text) == ("wrong", True, True)
    monkeypatch.setenv("MER_LLM_URL", server)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (one,) = found("LLM server")
    assert (one.state, "OPENAI_API_KEY" in one.text) == ("wrong", True)
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    assert [one.state for one in found("LLM server")] == ["ok"]


def test_the_hub(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that cannot be reached is no fault: stages never ask it."""
    assert [one.state for one in found("hub")] == ["note"]
    monkeypatch.setenv("HF_ENDPOINT", server)
    assert [one.state for one in found("hub")] == ["ok"]


def test_the_store(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried by a file that is removed again, and not made where it is not there yet; a file is none."""
    (one,) = found("store")
    assert (one.state, "is not there yet and can be made" in one.text) == ("ok", True)
    assert not (project / ".mer").exists()
    (project / ".mer/store").mkdir(parents=True)
    (one,) = found("store")
    assert (one.state, "can be read and written" in one.text) == ("ok", True)
    assert list((project / ".mer/store").iterdir()) == []
    (project / "file").write_text("")
    monkeypatch.setenv("MER_STORE", "file/below")
    (one,) = found("store")
    assert (one.state, "is a file and no folder" in one.text) == ("wrong", True)
    monkeypatch.setenv("MER_STORE", "file")
    (one,) = found("store")
    assert (one.state, one.text) == (
        "wrong",
        "store file is, or lies below, a file; name a folder (MER_STORE, .mer.toml)",
    )
    monkeypatch.setenv("MER_STORE", "none")
    assert [one.state for one in found("store")] == ["note"]


def test_libraries_of_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is named with the version that is there and the one that is asked for."""
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.0" if name == "torch" else real(name))
    (one,) = found("libraries")
    assert one.state == "wrong"
    assert one.text.startswith("torch is 2.9.0 and not ==2.11.0: run `make setup`")


def test_a_wrong_key_hides_nothing_else(project: Path) -> None:
    """What needs the params is left out; the rest is looked at all the same."""
    (project / "params.yaml").write_text(PARAMS + "fold: {n: 2}\n")
    (one,) = found("params")
    assert (one.state, "did you mean 'folds'?" in one.text) == ("wrong", True)
    assert [one.state for one in found("store")] == ["ok"]
    assert found("dataset") == []


def test_a_folder_without_dvc(project: Path) -> None:
    """What to do is said."""
    (project / ".dvc/tmp").rmdir()
    (project / ".dvc").rmdir()
    (one,) = found("DVC")
    assert (one.state, "dvc init" in one.text) == ("wrong", True)
