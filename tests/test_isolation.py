"""Facts about the processes that decode: what ends one of them is data of one clip, and nothing else."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Bug, ParamsError, Skip, StageError
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.run import run
from mer_pipeline.base.runs import Summary
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.datasets.listing import Entry
from mer_pipeline.datasets.probe import ProbeMedia, look
from mer_pipeline.engines import isolation, local, worker
from mer_pipeline.engines.base import Prepared, prepare
from mer_pipeline.media.container import file_sha256
from mer_pipeline.speech.track import AudioParams, ExtractAudio
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, write_table
from mer_pipeline.vision.frames import FrameParams, SampleFrames
from tests.conftest import clip, listed, rows_of

poisoned = False  # in a decoding process


class Decode(Transform[int]):
    """A number; the word of a clip says what its decoding does."""

    name = "decode"
    sources = (Source("manifest", ("word",)),)
    schema = pa.schema([pa.field("y", pa.int64())])
    params = Section()
    decodes = True

    def prepare(self, clip: Clip) -> int:
        global poisoned
        word = str(clip.need("manifest")["word"])
        if word == "crash" or (word.startswith("after") and poisoned):
            ctypes.string_at(0)
        elif word == "abort":
            os.abort()
        elif word == "hang":
            while True:
                pass
        elif word == "swell":
            return len(bytearray(2 * worker.MEMORY))
        elif word == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "sleep":
            time.sleep(100)
        elif word == "poison":
            poisoned = True
        elif word == "bug" or (word == "spoilt" and poisoned):
            raise ZeroDivisionError("a bug")
        elif word == "unfit":
            raise ParamsError("no clip would fare better")
        elif word == "code":
            return Path("no plain value")  # type: ignore[return-value]
        return os.getpid()

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        return [{"y": item} for item in items]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(isolation, "CPU_S", 1.0)


def go(
    words: Sequence[str], transform: Transform[int] | None = None, engine: str = "local", workers: int = 1
) -> tuple[Summary, dict[str, object], dict[str, tuple[str, str]]]:
    """Run it in the current folder: what was done, values by clip, problems by clip."""
    names = [f"{at:02d}-{word}" for at, word in enumerate(words)]
    write_table(Path("manifest.parquet"), pa.table({"clip_id": names, "word": list(words)}))
    summary = run(
        transform or Decode(),
        {"manifest": Path("manifest.parquet")},
        Path("rows"),
        Path("quarantine.parquet"),
        shards=ShardParams(count=1),
        quality=QualityParams(max_failed=1.0),
        runtime=Runtime(device="cpu", workers=workers, engine=engine, store=StoreSettings(url="store")),
    )
    problems = pq.read_table("quarantine.parquet").to_pylist()
    return (
        summary,
        {str(row["clip_id"]): row["y"] for row in rows_of(Path("rows"))},
        {problem["clip_id"]: (problem["error"], problem["message"]) for problem in problems},
    )


@pytest.mark.outcome(
    "decoding it crashes, or takes more than 30 s (and 4 s for each MB) or 1 GB",
    "quarantined by that stage as `Undecodable`",
    "remembered; the run goes on",
)
@pytest.mark.outcome("time", "the kernel (RLIMIT_CPU).")
@pytest.mark.outcome("memory", "the kernel (RLIMIT_AS)")
@pytest.mark.parametrize("engine", ["local", "tests.processes:Processes"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("crash", "crashes the decoder (SIGSEGV)"),
        ("abort", "crashes the decoder (SIGABRT)"),
        ("hang", "takes more than 1 s"),
        ("swell", "takes more than 1 GB of memory"),
    ],
)
def test_a_clip_that_ends_its_process_is_quarantined_and_remembered(word: str, message: str, engine: str) -> None:
    """The other clips have their rows, and the next run decodes nothing."""
    words = ["fine", word, "fine", "fine"]
    summary, rows, problems = go(words, engine=engine)
    text = f"decoding the file {message}, also in a process of its own; convert it again, or remove it"
    assert problems == {f"01-{word}": ("Undecodable", text)}
    assert list(rows) == ["00-fine", "02-fine", "03-fine"]
    again, _, known = go(words)
    assert (summary.computed, again.computed) == (4, 0)
    assert known == problems


@pytest.mark.outcome("a failure that may pass (a disk, a server)", "never remembered by the store")
@pytest.mark.outcome(
    "time",
    "A process that sleeps is ended after ten times as long; that may be the disk's fault, and is not remembered",
)
def test_a_clip_that_need_not_be_to_blame_is_tried_again_by_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed from outside, as where the machine's memory is short, or that waits for a disk."""
    monkeypatch.setattr(isolation, "PATIENCE", 0.5)
    _, _, problems = go(["killed", "sleep", "fine"])
    assert {name: error for name, (error, _) in problems.items()} == {"00-killed": "Transient", "01-sleep": "Transient"}
    assert go(["killed", "sleep", "fine"])[0].computed == 2


@pytest.mark.outcome(
    "decoding it crashes, or takes more than 30 s (and 4 s for each MB) or 1 GB",
    "after a second try alone in a new process",
)
@pytest.mark.outcome(
    "ends at a clip, or meets such a failure after other clips", "the clip is tried once more, alone in a new one"
)
def test_the_second_try_is_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which nobody has used; and then the clip is given up."""
    asked: list[tuple[str, int, int]] = []
    ask = isolation.Isolation._ask

    def watched(self: object, process: isolation._Process, clip: Clip, seconds: float) -> object:
        asked.append((clip.clip_id, process.pid, process.clips))
        return ask(self, process, clip, seconds)  # type: ignore[arg-type]

    monkeypatch.setattr(isolation.Isolation, "_ask", watched)
    go(["fine", "crash", "fine"])
    tries = [(pid, clips) for name, pid, clips in asked if name == "01-crash"]
    assert [clips for _, clips in tries] == [1, 0]
    assert len({pid for pid, _ in tries}) == 2
    assert len(asked) == 4


class Large(Decode):
    """Its clips are files of two million bytes."""

    def media(self, clip: Clip) -> Sequence[Path]:
        return (Path("large"),)


@pytest.mark.outcome(
    "decoding it crashes, or takes more than 30 s (and 4 s for each MB) or 1 GB",
    "quarantined by that stage as `Undecodable`",
)
def test_a_large_file_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """So much for each MB."""
    with Path("large").open("wb") as file:
        file.truncate(2_000_000)
    asked: list[float] = []
    ask = isolation.Isolation._ask

    def watched(self: object, process: isolation._Process, clip: Clip, seconds: float) -> object:
        asked.append(seconds)
        return ask(self, process, clip, seconds)  # type: ignore[arg-type]

    monkeypatch.setattr(isolation.Isolation, "_ask", watched)
    monkeypatch.setattr(isolation, "CPU_S", 30.0)
    go(["fine"], Large())
    assert asked == [38.0]


@pytest.mark.outcome(
    "ends at a clip, or meets such a failure after other clips",
    "the clip is tried once more, alone in a new one, and that outcome counts",
)
def test_an_earlier_clip_cannot_take_another_along() -> None:
    """A clip that fails in a process that others have used is tried alone, and its row is right."""
    _, rows, problems = go(["poison", "after", "fine", "poison", "spoilt"])
    assert problems == {}
    assert len(rows) == 5
    assert len({rows["00-poison"], rows["01-after"]}) == 2
    assert rows["01-after"] == rows["02-fine"], "the new process goes on"


@pytest.mark.outcome(
    "meets a failure that is not a plain `BadInput`",
    "likewise, because nobody knows what such a failure has done to its memory",
)
def test_a_bug_is_a_bug_with_its_place() -> None:
    """And it takes its process along: nobody knows what it left behind."""
    summary, rows, problems = go(["fine", "bug", "fine"])
    assert problems == {"01-bug": ("ZeroDivisionError", "a bug")}
    assert rows["00-fine"] != rows["02-fine"]
    assert "test_isolation.py" in pq.read_table("quarantine.parquet")["traceback"].to_pylist()[0]
    assert summary.failed == {"ZeroDivisionError": 1}
    with pytest.raises(Bug, match=r"ZeroDivisionError at tests/test_isolation\.py:\d+"):
        go(["bug", "bug"])


def test_what_ends_a_run_ends_it() -> None:
    """An error that is not about a clip has its class and its exit code."""
    with pytest.raises(ParamsError, match="no clip would fare better") as caught:
        go(["fine", "unfit"])
    assert caught.value.exit_code == 2


@pytest.mark.outcome("the answer", "the stage's process reads nothing else from a decoding process")
def test_an_answer_cannot_run_code() -> None:
    """What a decoding process sends is plain values, arrays and dataclasses, or it is refused."""
    with pytest.raises(Exception, match=r"pathlib.* is no plain value"):
        go(["code"])


@pytest.mark.outcome("has had 50 clips", "it is ended, and another one started")
def test_a_process_ends_after_so_many_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """What decoders leak is let go, and what they corrupt cannot reach far."""
    monkeypatch.setattr(isolation, "CLIPS", 3)
    _, rows, _ = go(["fine"] * 7)
    assert [list(rows.values()).count(pid) for pid in dict.fromkeys(rows.values())] == [3, 3, 1]
    assert os.getpid() not in rows.values()


class Forbidden(Decode):
    """Tries what a decoding process may not do: 1 for each thing that went well."""

    def prepare(self, clip: Clip) -> int:
        word, _, number = str(clip.need("manifest")["word"]).partition(" ")
        try:
            if word == "write":
                Path("written").write_text("x")
            elif word == "open":
                kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(2 * worker.OPEN_FILES)]
                assert kept
            elif word == "inherited":
                return int(any(Path(link).name == word for link in map(os.readlink, Path("/proc/self/fd").iterdir())))
            elif word == "rename":
                Path("written").rename("renamed")
            elif word == "remove":
                Path("renamed").unlink()
            elif word == "limit":
                return resource.getrlimit(getattr(resource, number))[0]
            elif word == "print":
                os.write(2, b"a decoder says something")
            elif word == "connect":
                with socket.create_connection(("127.0.0.1", int(number))):
                    pass
        except OSError:
            return 0
        return 1


@pytest.mark.outcome("open files", "what the stage has open is closed")
@pytest.mark.outcome("writing", "no byte into any file", "Not enforced: making empty files, renaming and removing them")
def test_what_a_decoding_process_may_not_do(capfd: pytest.CaptureFixture[str]) -> None:
    """Write into files, open many, use those of the stage, and say anything. It may make, rename and remove files."""
    with Path("inherited").open("w"):
        _, rows, problems = go(["write", "open", "inherited", "print"], Forbidden())
    assert not problems
    assert list(rows.values()) == [0, 0, 0, 1]
    assert Path("written").read_text() == ""
    assert capfd.readouterr().err == ""
    _, rows, _ = go(["rename", "remove"], Forbidden())
    assert list(rows.values()) == [1, 1]
    assert not Path("written").exists()


@pytest.mark.outcome("open files", "the kernel (RLIMIT_NOFILE)")
@pytest.mark.outcome("writing", "the kernel (RLIMIT_FSIZE).")
def test_the_kernel_knows_the_limits() -> None:
    """Of open files, and of bytes that are written."""
    _, rows, _ = go(["limit RLIMIT_NOFILE", "limit RLIMIT_FSIZE"], Forbidden())
    assert list(rows.values()) == [worker.OPEN_FILES, 0]


@pytest.mark.outcome(
    "network",
    "none | an empty network namespace, where the system lets the user make one",
    "(root may; some containers and distributions let nobody)",
)
def test_a_decoding_process_has_no_network() -> None:
    """Where this user may make a network namespace."""
    if subprocess.run(["unshare", "--net", "--map-root-user", "true"], capture_output=True).returncode:
        pytest.skip("this user may not make a network namespace")
    with socket.create_server(("127.0.0.1", 0)) as server:
        _, rows, _ = go([f"connect {server.getsockname()[1]}"], Forbidden())
    assert list(rows.values()) == [0]


LARGE = 10_000_000


@dataclass(frozen=True)
class Both:
    """What is not plain in itself, of plain parts."""

    arrays: list[np.ndarray]
    number: int


class Arrays(Transform[dict[str, object]]):
    decodes = True
    schema = pa.schema([])

    def prepare(self, clip: Clip) -> dict[str, object]:
        array = np.arange(12, dtype="<i2").reshape(3, 4)
        large = np.arange(LARGE, dtype=np.uint32)
        return {"a": array, "f": np.float32(1.5), "n": [None, b"x", "y", 1, 0.5], "p": Both([large, array.T[::2]], 7)}

    def infer(self, items: Sequence[dict[str, object]]) -> list[Row | Skip]:
        return []


@pytest.mark.outcome("the answer", "plain values, arrays and dataclasses")
def test_plain_values_and_arrays_arrive_as_they_are() -> None:
    """With their types."""
    isolated = isolation.Isolation(Arrays())
    results = [isolated.prepare(clip()) for _ in range(3)]
    isolated.close()
    for one in results:
        assert isinstance(one, Prepared)
        both = one.item["p"]
        assert isinstance(both, Both)
        assert np.array_equal(both.arrays[0], np.arange(LARGE)), "and no later clip changes it"
        assert (both.arrays[1].tolist(), both.number) == ([[0, 4, 8], [2, 6, 10]], 7)
        assert both.arrays[0].flags.writeable
    result = results[0]
    assert isinstance(result, Prepared)
    array, number = result.item["a"], result.item["f"]
    assert isinstance(array, np.ndarray)
    assert (array.dtype, array.tolist()) == (np.dtype("<i2"), np.arange(12).reshape(3, 4).tolist())
    assert (type(number), number, result.item["n"]) == (np.float32, 1.5, [None, b"x", "y", 1, 0.5])


def test_without_the_starter_the_stage_says_so() -> None:
    """It is small, and never the one that a machine without memory should end."""
    isolated = isolation.Isolation(Decode())
    os.kill(isolated._starter, signal.SIGKILL)
    with pytest.raises(StageError, match="was killed; run the same command again"):
        isolated.prepare(clip(manifest={"word": "fine"}))
    isolated.close()


class InThreads(isolation.Isolation[Row]):
    """No isolation: what it is compared with."""

    def __init__(self, transform: Transform[Row]) -> None:
        self._transform = transform

    def prepare(self, clip: Clip) -> Prepared[Row] | Outcome:
        return prepare(self._transform, clip)

    def close(self) -> None:
        pass


def test_tables_are_equal_to_the_byte_with_and_without(
    tmp_path: Path, make_film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames, sound and what ingest reads; of whole, silent, cut and foreign files."""
    make_film("a.mp4")
    make_film("b.mp4", frames=7, tone=None)
    make_film("c.mp4", loudness=0.0)
    (tmp_path / "d.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:-3000])
    (tmp_path / "e.mp4").write_text("no film")
    names = [path.name for path in sorted(tmp_path.glob("*.mp4"))]
    rows = [{"clip_id": name, **listed(tmp_path, video=name)} for name in names]
    write_table(tmp_path / "manifest.parquet", pa.Table.from_pylist(rows))
    entries = [Entry(name, video=name) for name in names]
    tables: list[dict[str, bytes]] = []
    probed = []
    for kind in (isolation.Isolation, InThreads):
        monkeypatch.setattr(local, "Isolation", kind)
        out = tmp_path / kind.__name__
        monkeypatch.chdir(tmp_path)
        for transform in (SampleFrames(FrameParams(), tmp_path), ExtractAudio(AudioParams(), tmp_path)):
            run(
                transform,
                {"manifest": tmp_path / "manifest.parquet"},
                out / transform.name,
                out / f"{transform.name}.quarantine.parquet",
                shards=ShardParams(count=2),
                quality=QualityParams(max_failed=1.0),
                runtime=Runtime(device="cpu", workers=2, store=StoreSettings(url="none")),
            )
        out.joinpath("project").mkdir()
        monkeypatch.chdir(out / "project")
        probed.append(look(ProbeMedia(tmp_path), entries, tmp_path, Runtime(workers=2), lambda done, total: None))
        tables.append({path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.parquet")})
    assert tables[0] == tables[1]
    assert len(tables[0]) == 7  # four shards, two quarantines, and the pack of what ingest read
    assert probed[0] == probed[1]
    assert [bool(row["problem"]) for row in probed[0][0].values()] == [False, False, False, False, True]


class CrashingProbe(ProbeMedia):
    """As where FFmpeg crashes on a header."""

    def prepare(self, clip: Clip) -> Row:
        ctypes.string_at(0)
        return {}


def test_a_file_that_ends_its_process_is_a_broken_file_with_a_hash(make_film: Callable[..., Path]) -> None:
    """Ingest lists it: the stages that read it find the content that was listed, and say the same of it."""
    path = make_film("a.mp4")
    isolated = isolation.Isolation(CrashingProbe(path.parent))
    result = isolated.prepare(clip(listing={"video": "a.mp4", "audio": None, "faces": None}))
    isolated.close()
    assert isinstance(result, Prepared)
    assert result.item["video_sha256"] == file_sha256(path)
    assert "crashes the decoder (SIGSEGV)" in str(result.item["problem"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(number: signal.Signals, tmp_path: Path) -> None:
    """Whatever ends the stage, in the middle of a clip that never ends."""
    code = (
        "import sys; from tests.test_isolation import go; from mer_pipeline.base.runtime import stop_on_signals; "
        "from mer_pipeline.engines import isolation; stop_on_signals(); isolation.CPU_S = float(sys.argv[1]); "
        "go(['fine', 'hang', 'hang'], workers=2)"
    )
    wait_s = "300" if number == signal.SIGKILL else "1"  # the others let a clip end that has begun
    process = subprocess.Popen(
        [sys.executable, "-c", code, wait_s], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(descendants(process.pid)) < 4 and time.monotonic() < deadline:  # itself, the starter, two that decode
        time.sleep(0.05)
    there = descendants(process.pid)
    assert len(there) == 4
    os.kill(process.pid, number)
    process.wait(timeout=60)
    while any(is_alive(pid) for pid in there) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in there if is_alive(pid)]


def descendants(pid: int) -> list[int]:
    """The processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    """And no zombie: an orphan is its new parent's to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
