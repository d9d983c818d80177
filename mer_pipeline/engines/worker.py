"""What runs in the starter and in a decoding process (isolation.py), and what such a process may not do.

| limit | how |
|---|---|
| CPU time | RLIMIT_CPU, set anew for each clip; beyond it the system ends the process (SIGXCPU) |
| memory | RLIMIT_AS: MEMORY more than what is loaded when the process starts |
| files | RLIMIT_NOFILE; what the stage's process has open is closed |
| writing | RLIMIT_FSIZE of 0: nothing can be written into a file. It can still be made, renamed or removed |
| network | an empty network namespace, where the system lets this user make one; FFmpeg is told to open files only |
| children, reading | not limited |

Both kinds of process ignore Ctrl-C and SIGTERM, which are the stage's to handle. They end when the stage's process
does, however that ends.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import pickle
import resource
import signal
import socket
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from mer_pipeline.base import numerics
from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import MerError
from mer_pipeline.base.network import leave_network
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.engines.base import Prepared, prepare

MEMORY = 1_000_000_000  # bytes
OPEN_FILES = 64
SHARED = 512 * 2**20  # bytes of arrays that pass by shared memory; where there are more, they pass as all else does
FULL = 77  # the exit code of a process that has no memory left
NUMBER = 8  # bytes of a message to or from the starter: a pid, or how a process ended

# Of what was prepared: ("item", item, bucket). Of a skipped clip: ("row", row, None). Of a clip that failed:
# ("failed", the fields of its Failure, None). Of what ends the run: ("raised", (class, message), None).
Answer: TypeAlias = tuple[str, Any, Any]

_PR_SET_PDEATHSIG = 1


def to_bytes(number: int) -> bytes:
    """A message to or from the starter."""
    return number.to_bytes(NUMBER)


def start(control: socket.socket, transform: Transform[Item]) -> NoReturn:
    """Be the starter: fork a decoding process whenever it is asked for, and end those that are named.

    Args:
        control: messages come from here: 0 with a socket and a file of shared memory, or a pid. The answers are a pid,
            and how a process ended.
        transform: whose `prepare` is run.
    """
    try:
        gc.freeze()  # nothing of the stage's may be finalised here: its files are closed
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        logging.disable()
        _close_others(control.fileno())
        leave_network()
        _load()
        children: set[int] = set()
        while (message := socket.recv_fds(control, NUMBER, 2))[0]:
            pid, files = int.from_bytes(message[0]), message[1]
            if files:
                pid = _fork(files[0], files[1], control, transform)
                children.add(pid)
                for file in files:
                    os.close(file)
                control.send(to_bytes(pid))
            else:
                children.remove(pid)
                control.send(to_bytes(_end(pid)))
        for pid in children:
            _end(pid)
    finally:
        os._exit(0)


def _end(pid: int) -> int:
    """Kill a process that may have ended, and return how it ended."""
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _fork(channel: int, memory: int, control: socket.socket, transform: Transform[Item]) -> int:
    starter, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            control.close()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == starter:
                shared = mmap(memory, SHARED)
                os.close(memory)
                _limit()
                _decode(Connection(channel), shared, transform)
        finally:
            os._exit(1)
    return pid


def _decode(channel: Connection, shared: mmap, transform: Transform[Item]) -> NoReturn:
    """Be a decoding process: prepare clip by clip, until no more come."""
    try:
        while True:
            clip, seconds = channel.recv()
            _set(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))
            _send(channel, shared, _answer(transform, clip))
    except MemoryError:
        os._exit(FULL)
    except EOFError:
        os._exit(0)


def _answer(transform: Transform[Item], clip: Clip) -> Answer:
    try:
        result = prepare(transform, clip, _with_memory(transform.prepare))
    except MerError as error:
        return "raised", (type(error).__name__, str(error)), None
    if isinstance(result, Prepared):
        return "item", result.item, result.bucket
    if result.failed is not None:
        return "failed", astuple(result.failed), None
    return "row", result.row, None


def _send(channel: Connection, shared: mmap, answer: Answer) -> None:
    """Send the sizes of the arrays that were put into the shared memory, one after another; then all else."""
    arrays: list[pickle.PickleBuffer] = []
    data = pickle.dumps(answer, 5, buffer_callback=arrays.append)
    pieces = [one.raw() for one in arrays]
    if sum(map(len, pieces)) > SHARED:
        data, pieces = pickle.dumps(answer, 5), []
    end = 0
    for piece in pieces:
        shared[end : end + len(piece)] = piece
        end += len(piece)
    channel.send_bytes(array("Q", map(len, pieces)).tobytes())
    channel.send_bytes(data)


def _with_memory(step: Callable[[Clip], Item]) -> Callable[[Clip], Item]:
    """A step that ends the process where there is no memory left, before that is taken for a bug."""

    def run(clip: Clip) -> Item:
        try:
            return step(clip)
        except MemoryError:
            os._exit(FULL)

    return run


def _close_others(kept: int) -> None:
    """Close all files but one; standard input, output and error lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _load() -> None:
    """Load what decodes, so that no decoding process has to; one that still has to says what is wrong."""
    with suppress(ImportError, MerError):
        import av  # noqa: F401

        numerics.hold_ffmpeg()


def _limit() -> None:
    loaded = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _set(resource.RLIMIT_AS, loaded + MEMORY)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)
    _set(resource.RLIMIT_FSIZE, 0)
    _set(resource.RLIMIT_CORE, 0)


def _set(what: int, limit: int) -> None:
    """Set a limit of this process; a smaller one of the user's stays."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
