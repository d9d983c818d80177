"""Decoding in processes of their own: a clip that crashes, hangs or fills the memory ends one of them, and no stage.

    prepare thread ──clip──► decoding process ──item or outcome; arrays by shared memory──► prepare thread
                                    ▲ forked, when one is needed
                     starter ───────┘

The starter is forked from the stage's process before any clip is read, and it decodes nothing. So a decoding process
begins with memory that no clip has touched, and it need not import anything. It is ended after CLIPS clips, and after
every failure that is not a plain one (`BadInput`). A clip that ends its process is tried once more, alone in a new one.
`worker.py` is what runs in these processes, and says what they may not do.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import sys
import threading
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from mmap import mmap
from multiprocessing.connection import Connection
from typing import Generic

from mer_pipeline.base import errors
from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import ClipError, StageError, Transient, Undecodable
from mer_pipeline.base.outcome import Failure, Outcome
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.engines import worker
from mer_pipeline.engines.base import Prepared, prepare
from mer_pipeline.engines.worker import Answer

CLIPS = 50  # of one decoding process
CPU_S = 30.0  # of a clip, and so much more for each MB of its files, because a long clip is no fault
CPU_S_PER_MB = 4.0
KEPT = 64_000_000  # bytes of shared memory that an idle process may keep
PATIENCE = 10.0  # times the CPU time: a process that takes so long waits for a disk

# All that an answer may name: a decoder that somebody has taken over must not run code in the stage's process.
KNOWN = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
    }
)


@dataclass
class _Process:
    """A decoding process.

    Attributes:
        pid: its number.
        channel: clips go there, and answers come back.
        file: the shared memory, and the map of it in this process.
        clips: so many it has had.
    """

    pid: int
    channel: Connection
    file: int
    shared: mmap
    clips: int = 0


class Isolation(Generic[Item]):
    """The decoding processes of one transform. Any number of threads may call `prepare`.

    Args:
        transform: whose `prepare` decodes.
    """

    def __init__(self, transform: Transform[Item]) -> None:
        self._transform = transform
        self._idle: list[_Process] = []
        self._lock = threading.Lock()  # of the talk with the starter
        self._control, theirs = socket.socketpair()
        self._starter = os.fork()
        if self._starter == 0:
            worker.start(theirs, transform)
        theirs.close()

    def prepare(self, clip: Clip) -> Prepared[Item] | Outcome:
        """As `prepare` of engines/base.py. `Transform.given_up` says what becomes of a clip that ends its process.

        Raises:
            UsageError, StageError: the transform says that no clip would fare better, or the starter was killed.
        """
        seconds = CPU_S + CPU_S_PER_MB * self._bytes(clip) / 1e6
        process = self._idle_one() or self._new_one()
        is_new = process.clips == 0
        answer = self._ask(process, clip, seconds)
        if isinstance(answer, ClipError) or not (_is_plain(answer) or is_new):
            answer = self._ask(self._new_one(), clip, seconds)  # an earlier clip may have been to blame
        if isinstance(answer, ClipError):
            error = answer
            return prepare(self._transform, clip, lambda clip: self._transform.given_up(clip, error))
        return _read(answer, clip)

    def close(self) -> None:
        """End all processes."""
        self._control.close()  # this ends the starter, which ends the others
        for process in self._idle:
            process.channel.close()
            process.shared.close()
            os.close(process.file)
        self._idle.clear()
        os.waitpid(self._starter, 0)

    def _bytes(self, clip: Clip) -> int:
        """The size of the files that are decoded; 0 where it cannot be told, and then `prepare` will say why."""
        try:
            return sum(path.stat().st_size for path in self._transform.media(clip))
        except (OSError, ClipError):
            return 0

    def _idle_one(self) -> _Process | None:
        with suppress(IndexError):
            return self._idle.pop()
        return None

    def _new_one(self) -> _Process:
        ours, theirs = socket.socketpair()
        file = os.memfd_create("decoded")
        os.ftruncate(file, worker.SHARED)  # here, because a decoding process may not; it takes no room yet
        with theirs:
            pid = self._tell(lambda: socket.send_fds(self._control, [worker.to_bytes(0)], [theirs.fileno(), file]))
        return _Process(pid, Connection(ours.detach()), file, mmap(file, worker.SHARED))

    def _ask(self, process: _Process, clip: Clip, seconds: float) -> Answer | ClipError:
        """A process's answer; or what is to be said of the clip, where the process ended without an answer."""
        try:
            process.channel.send((clip, seconds))
            if not process.channel.poll(PATIENCE * seconds):
                self._end(process)
                return Transient(
                    f"decoding did not end within {PATIENCE * seconds:.0f} s; look at the disk", tried=True
                )
            sizes, data = array("Q", process.channel.recv_bytes()), process.channel.recv_bytes()
        except (EOFError, OSError):
            return _cause(self._end(process), seconds)
        answer: Answer = _Plain(io.BytesIO(data), buffers=_arrays(process, sizes)).load()
        process.clips += 1
        if _is_plain(answer) and process.clips < CLIPS:
            self._idle.append(process)
        else:
            self._end(process)
        return answer

    def _end(self, process: _Process) -> int:
        """End a process that may have ended already. Returns how it ended, as `os.waitstatus_to_exitcode` does."""
        process.channel.close()
        process.shared.close()
        os.close(process.file)
        return os.waitstatus_to_exitcode(self._tell(lambda: self._control.send(worker.to_bytes(process.pid))))

    def _tell(self, send: Callable[[], int]) -> int:
        """Tell the starter something, and return its answer."""
        with self._lock:
            try:
                send()
                answer = self._control.recv(worker.NUMBER)
            except OSError:
                answer = b""
        if not answer:
            raise StageError("the process that starts the decoding processes was killed; run the same command again")
        return int.from_bytes(answer)


class _Plain(pickle.Unpickler):
    """Reads plain values, arrays and dataclasses, and nothing that could run other code."""

    def find_class(self, module: str, name: str) -> object:
        """As `pickle.Unpickler.find_class`.

        Raises:
            UnpicklingError: it is none of KNOWN, and no dataclass that is loaded.
        """
        found: object = getattr(sys.modules.get(module), name, None)
        if (module, name) in KNOWN or (isinstance(found, type) and is_dataclass(found)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value, array or dataclass (Transform.decodes)")


def _arrays(process: _Process, sizes: Iterable[int]) -> list[bytearray]:
    """Copies of what lies in the shared memory, which is then the next clip's; much of it is given back."""
    copies, end = [], 0
    with memoryview(process.shared) as shared:
        for size in sizes:
            copies.append(bytearray(shared[end : end + size]))
            end += size
    if end > KEPT:
        os.ftruncate(process.file, 0)
        os.ftruncate(process.file, worker.SHARED)
    return copies


def _is_plain(answer: Answer) -> bool:
    """Whether the process may go on: there is an item, or a reason to skip the clip, or the clip itself is broken."""
    kind, value, _ = answer
    return kind in {"item", "row"} or (kind == "failed" and Failure(*value).lasts)


def _read(answer: Answer, clip: Clip) -> Prepared[Item] | Outcome:
    kind, value, bucket = answer
    match kind:
        case "item":
            return Prepared(clip, value, bucket)
        case "row":
            return Outcome(clip.clip_id, clip.input_digest, value)
        case "failed":
            return Outcome(clip.clip_id, clip.input_digest, failed=Failure(*value))
    name, message = value
    raise getattr(errors, name)(message)


def _cause(status: int, seconds: float) -> ClipError:
    """What is said of a clip whose process has ended like this twice."""
    if status == worker.FULL:
        what = f"takes more than {worker.MEMORY / 1e9:g} GB of memory"
    elif status == -signal.SIGXCPU:
        what = f"takes more than {seconds:.0f} s"
    elif status == -signal.SIGKILL:  # not by us
        return Transient("the process that decoded it was killed; is the machine short of memory?", tried=True)
    else:
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        what = f"crashes the decoder ({how})"
    return Undecodable(f"decoding the file {what}, also in a process of its own; convert it again, or remove it")
