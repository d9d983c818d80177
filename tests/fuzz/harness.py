"""Mutated media files through ingest's probe, frames and audio: each has an outcome, always the same, within limits.

    python -m tests.fuzz.harness [--files 25000] [--minutes 600] [--keep DIR] [--anew]

Each file is read twice: among others, in processes that they share; and once more in another order, each time in a
process of its own. What must hold: no stage dies, nothing is raised that is not documented, nothing lasts longer or
takes more memory than a decoding process may (which is then ended), and both outcomes of a file are equal to the byte.
The figures go to `figures.md`, and to `figures.json`, from which the next call goes on with the files that follow.
File number N is the same on every machine that has the same encoders.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pickle
import platform
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import mer_pipeline  # noqa: F401  # before PyAV and NumPy
from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import MerError
from mer_pipeline.base.transform import Transform
from mer_pipeline.datasets.probe import ProbeMedia
from mer_pipeline.engines import isolation
from mer_pipeline.engines.base import Prepared
from mer_pipeline.speech.track import AudioParams, ExtractAudio
from mer_pipeline.vision.frames import FrameParams, SampleFrames
from tests.conftest import listed
from tests.fuzz.media import KINDS, make
from tests.fuzz.mutate import mutant

PAGE = Path(__file__).with_name("figures.md")
BATCH = 200  # files that are there at a time
SLOW = 5  # files that are named
STEPS = ("probe", "frames", "audio")


@dataclass(frozen=True)
class File:
    """A mutated file."""

    number: int
    kind: str
    mutation: str
    data: bytes

    @property
    def name(self) -> str:
        return f"{self.number:06d}-{self.kind}"


@dataclass(frozen=True)
class Found:
    """What became of a file in a step.

    Attributes:
        kind: "done", "skipped", or the class of the failure.
        message: of the failure, or the reason.
        digest: of all that came out.
        is_bug: something undocumented was raised.
        seconds: by the clock, both tries of a file that ended its process.
    """

    kind: str
    message: str
    digest: str
    is_bug: bool
    seconds: float


@dataclass
class Figures:
    """What was seen."""

    files: int = 0
    mutations: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {step: Counter() for step in STEPS})
    faults: list[str] = field(default_factory=list)  # whatever must not be
    ended: list[str] = field(default_factory=list)  # processes that were ended by a limit or a crash
    passing: list[str] = field(default_factory=list)  # broken files that are called passing
    slow: list[tuple[float, str]] = field(default_factory=list)  # the slowest
    seconds: float = 0.0
    sittings: list[str] = field(default_factory=list)  # when which files were read, and with what

    @classmethod
    def load(cls, path: Path) -> Figures:
        """Read what `save` wrote; nothing was seen yet where there is no such file."""
        if not path.exists():
            return cls()
        raw = json.loads(path.read_text(encoding="utf-8"))
        counters = {name: Counter(raw.pop(name)) for name in ("mutations", "kinds")}
        outcomes = {step: Counter(counts) for step, counts in raw.pop("outcomes").items()}
        slow = [(seconds, where) for seconds, where in raw.pop("slow")]
        return cls(**counters, outcomes=outcomes, slow=slow, **raw)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(vars(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


@cache
def seed(kind: str) -> bytes:
    """The file that the mutations of a kind start from."""
    return make(kind)


def file_of(number: int) -> File:
    """File number N."""
    deal = random.Random(number)
    kind = deal.choice(list(KINDS))
    data, mutation = mutant(seed(kind), deal)
    return File(number, kind, mutation, data)


class Readers:
    """The three steps, each in decoding processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        steps: tuple[Transform[object], ...] = (  # type: ignore[assignment]
            ProbeMedia(root), SampleFrames(FrameParams(), root), ExtractAudio(AudioParams(), root),
        )  # fmt: skip
        self.isolated = {step: isolation.Isolation(made) for step, made in zip(STEPS, steps, strict=True)}

    def read(self, step: str, name: str) -> Found:
        """One file in one step."""
        rows = {"manifest": listed(self.root, video=name), "listing": {"video": name, "audio": None, "faces": None}}
        started = time.monotonic()
        result = self.isolated[step].prepare(Clip(name, "", rows))
        seconds = time.monotonic() - started
        if isinstance(result, Prepared):
            problem = result.item.get("problem") if isinstance(result.item, dict) else None
            kind = "done" if problem is None else "Undecodable" if _is_ended(str(problem)) else "BadInput"
            return Found(kind, str(problem or ""), _digest(result.item), False, seconds)
        if result.failed is not None:
            failure = result.failed
            message = f"{failure.message} ({failure.place})" if failure.is_bug else failure.message
            return Found(failure.error, message, _digest(message), failure.is_bug, seconds)
        assert result.row is not None
        return Found("skipped", str(result.row["reason"]), _digest(result.row["reason"]), False, seconds)

    def close(self) -> None:
        """End all processes."""
        for each in self.isolated.values():
            each.close()


def _is_ended(message: str) -> bool:
    return message.startswith("decoding the file ")


def _digest(value: object) -> str:
    return hashlib.sha256(pickle.dumps(value)).hexdigest()[:16]


@contextlib.contextmanager
def clips_of_a_process(count: int) -> Iterator[None]:
    """Decoding processes end after so many clips."""
    before, isolation.CLIPS = isolation.CLIPS, count
    yield
    isolation.CLIPS = before


def look(readers: Readers, files: Sequence[File], figures: Figures, workers: int, keep: Path | None) -> None:
    """Read a batch of files twice, and note what was seen."""
    for file in files:
        (readers.root / file.name).write_bytes(file.data)
    tasks = [(step, file) for file in files for step in STEPS]
    found: list[dict[tuple[str, int], Found | str]] = []

    def read(task: tuple[str, File]) -> Found | str:
        step, file = task
        try:
            return readers.read(step, file.name)
        except MerError as error:  # the end of a stage
            return f"{type(error).__name__}: {error}"

    for clips in (isolation.CLIPS, 1):
        order = tasks if clips > 1 else random.Random(files[0].number).sample(tasks, len(tasks))
        with clips_of_a_process(clips), ThreadPoolExecutor(workers) as pool:
            answers = pool.map(read, order)
            found.append({(step, file.number): one for (step, file), one in zip(order, answers, strict=True)})
    for file in files:
        figures.files += 1
        figures.kinds[file.kind] += 1
        figures.mutations[file.mutation] += 1
        for step in STEPS:
            one, other = (each[step, file.number] for each in found)
            where = f"{file.name} ({file.mutation}), {step}"
            told = len(figures.faults) + len(figures.ended) + len(figures.passing)
            if isinstance(one, str) or isinstance(other, str):
                figures.faults.append(f"{where}: the stage dies: {one if isinstance(one, str) else other}")
            else:
                figures.outcomes[step][one.kind] += 1
                figures.slow.append((min(one.seconds, other.seconds), where))
                if (one.kind, one.digest) != (other.kind, other.digest):
                    figures.faults.append(f"{where}: {one.kind} {one.message} | {other.kind} {other.message}")
                if one.is_bug:
                    figures.faults.append(f"{where}: {one.kind}: {one.message}")
                if one.kind == "Undecodable":
                    figures.ended.append(f"{where}: {one.message.partition(',')[0]}")
                if one.kind == "Transient":
                    figures.passing.append(f"{where}: {one.message}")
            if keep is not None and told < len(figures.faults) + len(figures.ended) + len(figures.passing):
                (keep / file.name).write_bytes(file.data)
    figures.slow = sorted(figures.slow, reverse=True)[:SLOW]
    for file in files:
        (readers.root / file.name).unlink()


def fuzz(
    numbers: range,
    *,
    minutes: float = 1e9,
    workers: int = 2,
    batch: int = BATCH,
    keep: Path | None = None,
    figures: Figures | None = None,
    tell: Callable[[Figures], object] = lambda figures: None,
) -> Figures:
    """Read these files, as many as fit into the time, and add them to `figures`; `tell` is told after every batch."""
    figures, started = figures or Figures(), time.monotonic()
    before = figures.seconds
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for kind in KINDS:
        seed(kind)  # before there are other processes: the encoders' memory is not theirs
    readers = Readers(root)
    try:
        for at in range(numbers.start, numbers.stop, batch):
            if time.monotonic() - started > 60 * minutes:
                break
            files = [file_of(number) for number in range(at, min(at + batch, numbers.stop))]
            look(readers, files, figures, workers, keep)
            figures.seconds = before + time.monotonic() - started
            tell(figures)
    finally:
        readers.close()
        shutil.rmtree(root)
    return figures


def page(figures: Figures) -> str:
    """The figures as Markdown."""
    kinds = sorted({kind for counts in figures.outcomes.values() for kind in counts})
    hung = sum(" takes more than" in line and "GB" not in line for line in figures.ended)
    dead = sum("the stage dies" in line for line in figures.faults)
    unlike = sum(" | " in line for line in figures.faults)
    full = sum("GB of memory" in line for line in figures.ended)
    lines = [
        "# Mutated media files",
        "",
        f"`python -m tests.fuzz.harness`: {figures.files} files in {figures.seconds / 60:.0f} minutes, each through "
        f"three steps, twice ({'; '.join(figures.sittings)}).",
        "",
        "| what must not be | seen |",
        "|---|---|",
        f"| a stage that dies | {dead} |",
        f"| something undocumented that is raised | {len(figures.faults) - dead - unlike} |",
        f"| another outcome in another order, alone in a new process | {unlike} |",
        f"| a broken file that is called passing | {len(figures.passing)} |",
        "",
        f"Ended by the limits of a decoding process: {hung} by time, {full} by memory, "
        f"{len(figures.ended) - hung - full} crashed. The slowest, by the clock: "
        + "; ".join(f"{where} {seconds:.1f} s" for seconds, where in figures.slow)
        + ".",
        "",
        f"| step | {' | '.join(kinds)} |",
        f"|---|{'---|' * len(kinds)}",
        *(
            f"| {step} | {' | '.join(str(counts[kind]) for kind in kinds)} |"
            for step, counts in figures.outcomes.items()
        ),
        "",
        "| mutation | files |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in sorted(figures.mutations.items())),
        "",
        "| container | files |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in sorted(figures.kinds.items())),
        "",
    ]
    for title, found in (("Faults", figures.faults), ("Passing", figures.passing), ("Ended", figures.ended)):
        if found:
            lines += [f"## {title}", "", *(f"- {line}" for line in found[:40])]
            lines += [f"- and {len(found) - 40} more", ""] if len(found) > 40 else [""]
    return "\n".join(lines)


def _versions() -> str:
    import av

    return f"Python {platform.python_version()}, PyAV {av.__version__}"


def main() -> None:
    """See the module; exit code 1 where something was seen that must not be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=25_000, help="up to which number")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a folder for the files that something was seen with")
    parser.add_argument("--anew", action="store_true", help="forget what was read before")
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    known = args.out.with_suffix(".json")
    figures = Figures() if args.anew else Figures.load(known)
    first, earlier = figures.files, list(figures.sittings)

    def tell(figures: Figures) -> None:
        now = f"{first} to {figures.files - 1}: {datetime.now(UTC):%Y-%m-%d}, {_versions()}"
        figures.sittings = [*earlier, now]
        figures.save(known)
        args.out.write_text(page(figures), encoding="utf-8")
        print(f"{figures.files} files, {figures.seconds:.0f} s, {len(figures.faults)} faults", file=sys.stderr)

    numbers = range(first, args.files)
    fuzz(numbers, minutes=args.minutes, workers=args.workers, keep=args.keep, figures=figures, tell=tell)
    sys.exit(1 if figures.faults or figures.passing else 0)


if __name__ == "__main__":
    main()
