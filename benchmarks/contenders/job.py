"""What all contenders share: the workspace they find, the file they leave, and how their time is taken."""

import csv
import hashlib
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

CLIPS, MANIFEST, WEIGHTS = Path("clips.csv"), Path("manifest.parquet"), Path("weights.npy")
PARAMS, RESULT, SPENT = Path("params.json"), Path("features"), Path("spent.json")


@dataclass
class Spent:
    """What a process used, in seconds.

    Attributes:
        start: from the start of the process until the work began: interpreter and imports.
        work, cpu: wall clock and CPU (with children) of the work.
        memory: most that this process held, MB.
    """

    start: float
    work: float
    cpu: float
    memory: float


def measure(work: Callable[[], object]) -> None:
    """Do the work and write down what it took."""
    start, cpu = since_start(), cpu_seconds()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    # Not ru_maxrss: that of a new process begins with what its parent held.
    status = Path("/proc/self/status").read_text()
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    SPENT.write_text(json.dumps(asdict(Spent(start, seconds, cpu_seconds() - cpu, memory))))


def since_start() -> float:
    """Age of this process in seconds."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """CPU time of this process and of children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def params() -> dict[str, int]:
    """`pad_to` and `shifts`."""
    found: dict[str, int] = json.loads(PARAMS.read_text())
    return found


def clips() -> list[tuple[str, str]]:
    """Id and path of every clip, in the order of the list."""
    with CLIPS.open(newline="") as file:
        return [(row["clip_id"], row["path"]) for row in csv.DictReader(file)]


def make_manifest() -> None:
    """The list of clips with the hash of each file; written only where it says something new."""
    rows = clips()
    table = pa.table(
        {
            "clip_id": [clip_id for clip_id, _ in rows],
            "path": [path for _, path in rows],
            "sha256": [hashlib.sha256(Path(path).read_bytes()).hexdigest() for _, path in rows],
        }
    )
    if not MANIFEST.exists() or not pq.read_table(MANIFEST).equals(table):
        pq.write_table(table, MANIFEST)


def write_result(clip_ids: Sequence[str], vectors: Sequence[npt.NDArray[np.float32]]) -> None:
    """One Parquet file in the folder of results."""
    RESULT.mkdir(exist_ok=True)
    flat = pa.array(np.concatenate(vectors), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(flat, len(vectors[0]))
    pq.write_table(pa.table({"clip_id": list(clip_ids), "vector": column}), RESULT / "part-00000.parquet")


def read_result(folder: Path) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Clip ids, sorted, and their vectors."""
    table = pa.concat_tables(
        pq.read_table(path, columns=["clip_id", "vector"]).cast(
            pa.schema([("clip_id", pa.string()), ("vector", pa.list_(pa.float32()))])
        )
        for path in sorted(folder.glob("*.parquet"))
    ).sort_by("clip_id")
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    return table["clip_id"].to_pylist(), vectors
