"""The row store beside what one might take in its place, on the same work: times, and what each recomputes.

    python benchmarks/store.py [--clips 2000] [--repeats 5] [--out benchmarks/store.md]

Every run of every contender is a fresh process in a workspace of its own; within a repeat the contenders take turns,
phase by phase, and ratios are made within a repeat. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path

from mer_pipeline.base.runtime import StoreSettings
from mer_pipeline.tables.shards import ShardParams

import numpy as np
import numpy.typing as npt
from contenders.job import CLIPS, PARAMS, RESULT, SPENT, WEIGHTS, Spent, read_result
from idle import BUSY, Meanwhile
from workload.clip import SIZE

HERE = Path(__file__).parent
RATE, PAD = 16_000, 20_000  # of the clips, which are a second long; samples they are padded to
FEW, CALIBRATED = 20, 100  # clips of a wrong-reuse case; of a run that says what a shift costs
# Not at half, which is where ours has just saved the second of its four shards: in the middle of the third.
KILL_AT = 5 / 8
ENOUGH = 3  # repeats
COUNTER = Path("counter")
GOAL_OVERHEAD, GOAL_MORE, GOAL_MORE_S = 5.0, 3.0, 2.0


@dataclass(frozen=True, eq=False)
class Contender:
    """A way to do the work.

    Attributes:
        title: in the tables.
        module: of `contenders`.
        how: it is used, in words.
        needs: distribution that must be there.
        store: folder in which it remembers.
        prepares: whether the workspace has to be made ready for it, untimed.
        env: settings.
    """

    title: str
    module: str
    how: str
    needs: str = "numpy"
    store: str = "cache"
    prepares: bool = False
    env: dict[str, str] = field(default_factory=dict)

    @property
    def is_there(self) -> bool:
        """Whether its library can be imported."""
        return util.find_spec(self.needs) is not None


BARE = Contender("bare loop", "bare", "a `for` loop that remembers nothing: the base")
OURS = Contender("ours", "ours", "`mer_pipeline.base.run.run` on a `Transform`, one worker, default settings",
                 "mer_pipeline", ".mer/store")  # fmt: skip
OURS_2 = Contender("ours, 2 workers †", "ours", "the same with two workers", "mer_pipeline", ".mer/store",
                   env={"BENCH_WORKERS": "2"})  # fmt: skip
OURS_FLUSH = Contender("ours, `flush_s` 1", "ours", "packs at most a second apart", "mer_pipeline", ".mer/store",
                       env={"BENCH_FLUSH_S": "1"})  # fmt: skip
DATASETS = Contender(
    "datasets.map", "hf_datasets",
    "`Dataset.from_parquet(manifest).map(fn, batched=False)` with its cache; the files' SHA-256 are a column, the "
    "weights go in by value (`fn_kwargs`). Not `from_dict`: its maps are cached for the session only", "datasets",
)  # fmt: skip
JOBLIB_PATH = Contender(
    "joblib, of a path", "joblib_path", "`@memory.cache` on a function of (path, path of the weights, params): the "
    "common way", "joblib",
)  # fmt: skip
JOBLIB_CONTENT = Contender(
    "joblib, of content", "joblib_content", "`@memory.cache` on a function of (bytes of the file, weights as an array, "
    "params): the careful way", "joblib",
)  # fmt: skip
DVC = Contender(
    "plain DVC stage", "dvc_repro", "`dvc repro` of the bare loop as one stage; deps are the list, the folder of "
    "clips, the weights and the whole folder of the code, the params are named", "dvc", ".dvc/cache", prepares=True,
)  # fmt: skip

CONTENDERS = (OURS, OURS_2, DATASETS, JOBLIB_PATH, JOBLIB_CONTENT, DVC)
CASED = (OURS, DATASETS, JOBLIB_PATH, JOBLIB_CONTENT, DVC)


# --- workspaces


@dataclass(frozen=True)
class Lab:
    """Where everything happens.

    Attributes:
        root: temporary folder.
        peers: folder of the peers' packages.
        shifts: the calibrated cost of a clip.
    """

    root: Path
    peers: Path
    shifts: int

    def workspace(self, contender: Contender, clips: int, shifts: int | None = None) -> Path:
        """A fresh workspace with the first clips of the data."""
        folder = Path(tempfile.mkdtemp(prefix=f"{contender.module}-", dir=self.root))
        shutil.copytree(HERE / "workload", folder / "workload", ignore=shutil.ignore_patterns("__pycache__"))
        write_weights(folder, 0)
        (folder / PARAMS).write_text(json.dumps({"pad_to": PAD, "shifts": shifts or self.shifts}))
        (folder / "wavs").mkdir()
        add_clips(self, folder, 0, clips)
        if contender.prepares:
            command = self._command(contender, "prepare")
            subprocess.run(command, cwd=folder, env=self._env(contender, folder), check=True)
        return folder

    def run(self, contender: Contender, folder: Path, kill_at: int | None = None) -> Run:
        """Run a contender; where `kill_at` is given, kill it -9 with its children after so many clips."""
        counter = folder / COUNTER
        counter.write_bytes(b"")
        (folder / SPENT).unlink(missing_ok=True)
        began = time.perf_counter()
        process = subprocess.Popen(
            self._command(contender), cwd=folder, env=self._env(contender, folder), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        if kill_at is None:
            _, errors = process.communicate()
            whole = time.perf_counter() - began
            if process.returncode:
                raise SystemExit(f"{contender.title} failed:\n{errors.decode()[-3000:]}")
            return Run(Spent(**json.loads((folder / SPENT).read_text())), whole, counter.stat().st_size)
        while process.poll() is None and counter.stat().st_size < kill_at:
            time.sleep(0.001)
        if process.poll() is not None:
            raise SystemExit(f"{contender.title} ended before it could be killed")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Run(Spent(0, 0, 0, 0), time.perf_counter() - began, counter.stat().st_size)

    def _command(self, contender: Contender, *arguments: str) -> list[str]:
        return [sys.executable, "-m", f"contenders.{contender.module}", *arguments]

    def _env(self, contender: Contender, folder: Path) -> dict[str, str]:
        foreign = ("MER_", "DVC_", "HF_", "BENCH_")
        mine = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        apart = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".site"), "HF_HOME": str(folder / ".hf"),
                 "HF_HUB_OFFLINE": "1", "BENCH_COUNTER": str(folder / COUNTER)}  # fmt: skip
        peers = {"BENCH_PEERS": str(self.peers)} if contender in (DATASETS, JOBLIB_PATH, JOBLIB_CONTENT) else {}
        # The package's own folder for a checkout that is not installed; the workspace first, for its own `workload`.
        places = os.pathsep.join([str(folder), str(HERE), str(HERE.parent)])
        return {**mine, **one_thread, **apart, **peers, **contender.env, "PYTHONPATH": places}


@dataclass(frozen=True)
class Run:
    """One process: what it used, its life in seconds, and how many clips were computed."""

    spent: Spent
    whole: float
    computed: int


def make_data(folder: Path, count: int) -> None:
    """Seeded sounds of a second each: a chord whose pitch and loudness wander, with noise."""
    folder.mkdir(parents=True)
    times = np.arange(RATE) / RATE
    for number in range(count):
        random = np.random.default_rng(number)
        pitch = random.uniform(90, 300) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(1, 5) * times))
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        voice = sum(np.sin(overtone * phase) / overtone for overtone in range(1, 6))
        loudness = 0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(1, 4) * times)
        samples = 0.2 * voice * loudness + 0.01 * random.standard_normal(RATE)
        with wave.open(str(folder / f"{number:05d}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((samples.clip(-1, 1) * 32767).astype(np.int16).tobytes())


def add_clips(lab: Lab, folder: Path, start: int, stop: int) -> None:
    """Put clips into a workspace and its list."""
    is_new = not (folder / CLIPS).exists()
    with (folder / CLIPS).open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["clip_id", "path"])
        for number in range(start, stop):
            os.link(lab.root / "data" / f"{number:05d}.wav", folder / f"wavs/{number:05d}.wav")
            writer.writerow([f"clip{number:05d}", f"wavs/{number:05d}.wav"])


def write_weights(folder: Path, seed: int) -> None:
    """A projection."""
    np.save(folder / WEIGHTS, np.random.default_rng(seed).standard_normal((SIZE, SIZE)).astype(np.float32))


def calibrate(lab: Lab, milliseconds: float) -> int:
    """How many shifts make a clip cost so much CPU time here, by the bare loop's own account."""
    costs = []
    for shifts in (10, 60):
        folder = lab.workspace(BARE, CALIBRATED, shifts)
        lab.run(BARE, folder)
        costs.append(min(lab.run(BARE, folder).spent.cpu for _ in range(3)) / CALIBRATED)
        shutil.rmtree(folder)
    each = (costs[1] - costs[0]) / 50
    return max(1, round((milliseconds / 1000 - (costs[0] - 10 * each)) / each))


# --- the first table


def measure_times(lab: Lab, contenders: Sequence[Contender], clips: int, repeats: int) -> dict[str, Figures]:
    """Times of all contenders, by title; results are compared with those of the bare loop."""
    more = max(1, clips // 100)
    figures: dict[str, Figures] = {contender.title: Figures() for contender in (*contenders, OURS_FLUSH)}
    for repeat in range(repeats):
        turn = repeat % len(contenders)
        order = [*contenders[turn:], *contenders[:turn]]
        folders = {contender: lab.workspace(contender, clips) for contender in order}
        for phase in ("cold", "warm", "more"):
            results = {}
            for contender in order:
                folder = folders[contender]
                if phase == "more":
                    add_clips(lab, folder, clips, clips + more)
                run = lab.run(contender, folder)
                figures[contender.title].add(phase, run)
                results[contender] = read_result(folder / RESULT)
                if phase == "cold":
                    figures[contender.title].remember("store", *size_of(folder / contender.store))
                tell(f"{repeat + 1}/{repeats} {phase}", contender, run)
            for contender in order:
                same_or_stop(contender, results[contender], results[BARE])
        for folder in folders.values():
            shutil.rmtree(folder)
        for contender in (*order, OURS_FLUSH):
            folder = lab.workspace(contender, clips)
            killed = lab.run(contender, folder, kill_at=round(clips * KILL_AT))
            again = lab.run(contender, folder)
            figures[contender.title].add("again", again)
            figures[contender.title].remember("lost", max(0, killed.computed + again.computed - clips))
            tell(f"{repeat + 1}/{repeats} after a kill", contender, again)
            shutil.rmtree(folder)
        say(f"load average {os.getloadavg()[0]:.2f}")
    return figures


@dataclass
class Figures:
    """Everything measured of one contender: values by what they are, a value per repeat."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, phase: str, run: Run) -> None:
        """Note a run."""
        self.values[phase].append(run.spent.work)
        self.values[f"{phase} cpu"].append(run.spent.cpu)
        self.values[f"{phase} computed"].append(run.computed)
        self.values[f"{phase} memory"].append(run.spent.memory)
        self.values[f"{phase} whole"].append(run.whole)
        self.values["start"].append(run.spent.start)

    def remember(self, name: str, *values: float) -> None:
        """Note anything else; several values go under the name and a number."""
        for at, value in enumerate(values):
            self.values[f"{name}{at or ''}"].append(value)

    def over(self, name: str, base: Figures, of: str) -> list[float]:
        """A figure in percent of another, repeat by repeat."""
        return [100 * a / b for a, b in zip(self.values[name], base.values[of], strict=True)]


def size_of(folder: Path) -> tuple[float, int]:
    """MB and number of the files in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6, len(files)


Result = tuple[list[str], npt.NDArray[np.float32]]


def is_same(one: Result, other: Result) -> bool:
    """Whether two results have the same clips and, bit for bit, the same vectors."""
    return one[0] == other[0] and np.array_equal(one[1], other[1])


def same_or_stop(contender: Contender, result: Result, truth: Result) -> None:
    """A contender that computes something else is out of order."""
    if not is_same(result, truth):
        raise SystemExit(f"{contender.title}: the result is not that of the bare loop")


# --- the second table


def edit(folder: Path, old: str, new: str) -> None:
    """Change the module two imports away from the cached function."""
    path = folder / "workload/mel.py"
    text = path.read_text()
    if text.count(old) != 1:
        raise SystemExit(f"'{old}' is not once in {path.name}")
    path.write_text(text.replace(old, new))
    shutil.rmtree(folder / "workload/__pycache__", ignore_errors=True)


def change_formula(folder: Path) -> None:
    """Another logarithm."""
    edit(folder, "return np.log(power", "return np.log10(power")


def change_form(folder: Path) -> None:
    """A comment, and a line that is broken elsewhere."""
    edit(folder, "    return np.log(power @", "    # Natural logarithm.\n    return np.log(\n        power @")
    edit(folder, "np.float32(FLOOR))", "np.float32(FLOOR)\n    )")


def change_weights(folder: Path) -> None:
    """Other weights in a file of the same name and size."""
    write_weights(folder, 1)


def change_padding(folder: Path) -> None:
    """Another padded length."""
    settings = json.loads((folder / PARAMS).read_text())
    (folder / PARAMS).write_text(json.dumps({**settings, "pad_to": PAD + RATE}))


def alter_clip(folder: Path) -> None:
    """Another sound under the same name, of the same size."""
    path, other = folder / "wavs/00003.wav", folder / "wavs/00004.wav"
    data = bytearray(other.read_bytes())
    data[4000:5000] = bytes(1000)
    path.unlink()  # it is a link
    path.write_bytes(data)


def rewrite_list(folder: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    """Change the list of clips."""
    with (folder / CLIPS).open(newline="") as file:
        head, *rows = csv.reader(file)
    with (folder / CLIPS).open("w", newline="") as file:
        csv.writer(file).writerows([head, *change(rows)])


def rename_clips(folder: Path) -> None:
    """Other ids, another folder, other names of the same files."""
    for path in (folder / "wavs").iterdir():
        path.rename(path.with_name(f"take-{path.name}"))
    rewrite_list(folder, lambda rows: [[f"take-{row[0]}", row[1].replace("wavs/", "wavs/take-")] for row in rows])


def reorder_clips(folder: Path) -> None:
    """The list from its end."""
    rewrite_list(folder, lambda rows: rows[::-1])


@dataclass(frozen=True)
class Case:
    """A change, and how many clips are to be computed after it."""

    title: str
    change: Callable[[Path], None]
    expected: int


CASES = (
    Case("a formula changes, two modules away from the cached function", change_formula, FEW),
    Case("the weights change in a file of the same name", change_weights, FEW),
    Case("a param changes: the padded length", change_padding, FEW),
    Case("only a comment and the formatting change in that module", change_form, 0),
    Case("one clip's file is altered under its name", alter_clip, 1),
    Case("clips are renamed: ids and files", rename_clips, 0),
    Case("the list of clips is in another order", reorder_clips, 0),
)


def judge(lab: Lab, contenders: Sequence[Contender]) -> dict[str, dict[str, str]]:
    """What each contender does after each change, by case and title."""
    verdicts: dict[str, dict[str, str]] = {}
    for case in CASES:
        truth = after_change(lab, BARE, case)[1]
        verdicts[case.title] = {}
        for contender in contenders:
            computed, result = after_change(lab, contender, case)
            if not is_same(result, truth):
                verdict = f"✗ **stale values**, {computed} recomputed"
            elif computed == case.expected:
                verdict = f"✓ {computed} recomputed"
            else:
                verdict = f"– {computed} recomputed" + (f", {case.expected} needed" if case.expected else "")
            verdicts[case.title][contender.title] = verdict
            say(f"{case.title}: {contender.title}: {verdict}")
    return verdicts


def after_change(lab: Lab, contender: Contender, case: Case) -> tuple[int, Result]:
    """Run, change, run again: clips computed by the second run, and its result."""
    folder = lab.workspace(contender, FEW, shifts=1)
    first = lab.run(contender, folder)
    if first.computed != FEW:
        raise SystemExit(f"{contender.title} computed {first.computed} of {FEW} clips in a fresh workspace")
    before = read_result(folder / RESULT)
    case.change(folder)
    computed, result = lab.run(contender, folder).computed, read_result(folder / RESULT)
    if contender is BARE and case.expected and is_same(before, result):
        raise SystemExit(f"'{case.title}' changes no value, so it shows nothing")
    shutil.rmtree(folder)
    return computed, result


# --- the report


def cell(values: Sequence[float], form: str = ".2f") -> str:
    """Median and range."""
    middle = f"{statistics.median(values):{form}}"
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return middle if low == high else f"{middle} ({low}..{high})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def times_table(figures: dict[str, Figures], missing: Sequence[Contender], order: Sequence[Contender]) -> str:
    """The first table; a column per contender."""
    base = figures[BARE.title]
    columns = [figures[contender.title] for contender in order]

    def row(title: str, name: str, form: str = ".2f") -> list[str]:
        return [title, *(cell(column.values[name], form) for column in columns)]

    def percents(title: str, name: str, of: str) -> list[str]:
        over = [[value - 100 for value in column.over(name, base, of)] for column in columns]
        return [title, "0", *(cell(values, "+.1f") for values in over[1:])]

    rows = [
        row("cold, s", "cold"),
        percents("… over the bare loop, %", "cold", "cold"),
        row("… CPU, s", "cold cpu"),
        percents("… CPU over the bare loop, %", "cold cpu", "cold cpu"),
        row("warm: nothing changed, s", "warm"),
        row("+1 % clips, s", "more"),
        row("… clips computed", "more computed", ".0f"),
        ["… in % of cold", *(cell(column.over("more", column, "cold"), ".1f") for column in columns)],
        row(f"after `kill -9` at {100 * KILL_AT:g} % of the clips, s", "again"),
        row("… clips computed again (work lost)", "lost", ".0f"),
        row("start-up, not counted above, s", "start"),
        row("warm with start-up: the whole process, s", "warm whole"),
        row("peak memory of a cold run, MB", "cold memory", ".0f"),
        row("store after a cold run, MB", "store", ".1f"),
        row("… files in it", "store1", ".0f"),
    ]
    rows += [[f"*{contender.title}: not installed, skipped*", *[""] * len(order)] for contender in missing]
    return table(["median (min..max)", *(contender.title for contender in order)], rows)


def goals(figures: dict[str, Figures], can_judge: bool) -> str:
    """What was aimed at, and what came."""
    ours, base = figures[OURS.title], figures[BARE.title]
    overhead = [value - 100 for value in ours.over("cold", base, "cold")]
    cpu = [value - 100 for value in ours.over("cold cpu", base, "cold cpu")]
    allowed = [GOAL_MORE / 100 * cold + GOAL_MORE_S for cold in ours.values["cold"]]
    lines = [
        [
            f"cold at most {GOAL_OVERHEAD:.0f} % over the bare loop", f"{cell(overhead, '+.1f')} %",
            word(can_judge, statistics.median(overhead) <= GOAL_OVERHEAD),
        ],
        ["the same in CPU time", f"{cell(cpu, '+.1f')} %", word(can_judge, statistics.median(cpu) <= GOAL_OVERHEAD)],
        [
            f"+1 % clips in at most {GOAL_MORE:.0f} % of cold + {GOAL_MORE_S:.0f} s",
            f"{cell(ours.values['more'])} s of {cell(allowed)} s",
            word(can_judge, statistics.median(ours.values["more"]) <= statistics.median(allowed)),
        ],
    ]  # fmt: skip
    return table(["goal of ours, one worker", "measured", ""], lines)


def word(can_judge: bool, is_met: bool) -> str:
    """Of a goal."""
    if not can_judge:
        return f"not judged: busy machine, or fewer than {ENOUGH} repeats"
    return "met" if is_met else "**missed**"


def report(
    arguments: argparse.Namespace, lab: Lab, figures: dict[str, Figures], verdicts: dict[str, dict[str, str]],
    present: Sequence[Contender], missing: Sequence[Contender], others: float,
) -> str:  # fmt: skip
    """All of it as a page."""
    flush, lost = figures[OURS_FLUSH.title], figures[OURS.title]
    cased = [contender for contender in CASED if contender in present]
    cost = 1000 * statistics.median(figures[BARE.title].values["cold cpu"]) / arguments.clips
    how = "\n".join(f"- **{contender.title}**: {contender.how}." for contender in present)
    cases = table(
        ["", *(contender.title for contender in cased)],
        [[title, *(by[contender.title] for contender in cased)] for title, by in verdicts.items()],
    )
    return f"""\
# The row store beside its peers

{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/store.py --clips {arguments.clips} --repeats {arguments.repeats} \
--cost-ms {arguments.cost_ms:g}`. {machine()}. {versions(present)}. \
Other processes used {others:.0f} % of the machine's CPU time meanwhile\
{"" if others < BUSY else ": **not an idle machine, read the times accordingly**"}.

The work: {arguments.clips:,} synthetic WAV files of one second (16 kHz, mono), seeded, each made into a vector of \
{SIZE} numbers (log-mel statistics over {lab.shifts} time shifts, projected by a weights file). That is \
{cost:.1f} ms of CPU a clip, NumPy and SciPy on one thread. Everybody reads the same list of clips, calls the same \
function and ends with a Parquet of the vectors; all results were equal bit for bit to the bare loop's.

{how}

## Times

Repeats: {arguments.repeats}, in each of which the contenders took turns; every run is a fresh process. Counted is the \
work from after the imports until the result is on disk, hashing of the inputs included; start-up \
(interpreter and imports, for DVC also those of the stage's process) has a row of its own. Percents are ratios within \
a repeat. The page cache is warm for all.

{times_table(figures, missing, present)}

† Marked because it has twice the workers; everybody else has one. One worker computes in one thread, but the \
main threads of ours, and DVC's beside its stage's process, may use another core at the same time: the CPU rows \
show what that hides.

The store of ours saves packs at most {StoreSettings().flush_s:.0f} s apart (`store.flush_s`), and each of \
{ShardParams().count} shards as soon as it is whole; what a kill costs so short a run depends on the shards, and it \
falls into the middle of one. With `flush_s = 1` it lost {cell(flush.values["lost"], ".0f")} clips instead of \
{cell(lost.values["lost"], ".0f")}, and the run after it took {cell(flush.values["again"])} s.

{goals(figures, others < BUSY and arguments.repeats >= ENOUGH)}

## Wrong re-use

{FEW} clips are computed, one thing is changed, and the same is run again. Counted are calls of the function, and the \
result is compared with the bare loop's after the same change. ✓ right values and nothing in vain; – right values, \
more computed than needed; ✗ values that are not those of the present code and data.

{cases}
"""


def machine() -> str:
    """Processor, cores and system, without names of hosts."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.release().split('-')[0]}"


def versions(present: Sequence[Contender]) -> str:
    """Of Python and the libraries that take part."""
    names = ["mer-pipeline", "numpy", "scipy", "pyarrow"]
    names += sorted({contender.needs for contender in present} & {"datasets", "joblib", "dvc"})
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {metadata.version(name)}" for name in names)


def tell(what: str, contender: Contender, run: Run) -> None:
    """Of a run that has ended."""
    say(f"{what:16} {contender.title:18} {run.spent.work:7.2f} s, {run.computed} computed")


def say(text: str) -> None:
    """To a person who waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cost-ms", type=float, default=5.0, help="CPU time of a clip")
    parser.add_argument("--out", type=Path, default=HERE / "store.md")
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "mer-bench-peers")
    arguments = parser.parse_args()
    sys.path.append(str(arguments.peers))
    present = [contender for contender in (BARE, *CONTENDERS) if contender.is_there]
    missing = [contender for contender in (BARE, *CONTENDERS) if not contender.is_there]
    for contender in missing:
        say(f"{contender.title}: {contender.needs} is not installed, skipped")
    with tempfile.TemporaryDirectory(prefix="mer-bench-") as temporary:
        lab = Lab(Path(temporary), arguments.peers.absolute(), shifts=1)
        make_data(lab.root / "data", max(FEW, CALIBRATED, math.ceil(arguments.clips * 1.01) + 1))
        lab = replace(lab, shifts=calibrate(lab, arguments.cost_ms))
        say(f"{lab.shifts} shifts make {arguments.cost_ms:g} ms")
        meanwhile = Meanwhile()
        # The cases first: their processes also fill the page cache with everybody's libraries.
        verdicts = judge(lab, [contender for contender in CASED if contender in present])
        figures = measure_times(lab, present, arguments.clips, arguments.repeats)
        page = report(arguments, lab, figures, verdicts, present, missing, meanwhile.others())
        arguments.out.write_text(page, encoding="utf-8")
        say(f"{meanwhile.seconds():.0f} s; written to {arguments.out}")


if __name__ == "__main__":
    main()
