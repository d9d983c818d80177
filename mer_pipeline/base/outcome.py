"""What became of one clip: a row, or a failure. Plain data, so that it can come from another process.

A failure of the documented kinds (errors.py) is a fact about the clip. Anything else that was raised is a bug in the
code that computes: its failure has the traceback, beginning where that code was entered. Paths in it are relative to
the project, or to where libraries lie, so that a table that keeps it says nothing of the machine.
"""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import BadInput, ClipError

PROJECT = Path(__file__).parents[2]
LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))


@dataclass(frozen=True)
class Failure:
    """Why a clip has no row.

    Attributes:
        error: name of the class that was raised.
        message: one sentence.
        lasts: the clip itself is broken and will be the next time: it is remembered.
        place: of a bug: file and line, such as "mer_pipeline/speech/logmel.py:120".
        traceback: of a bug.
    """

    error: str
    message: str
    lasts: bool = False
    place: str | None = None
    traceback: str | None = None

    @property
    def is_bug(self) -> bool:
        """Whether the code failed, and not the clip."""
        return self.traceback is not None


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: one of `row` and `failed`, or neither where the store has it already.

    Attributes:
        clip_id, input_digest: of the clip.
        row: its row of the stage's table (`stage_schema`); a clip that was skipped has one, which is not valid.
        failed: why it has none.
        kept: whoever computed it has put it into the store.
    """

    clip_id: str
    input_digest: str
    row: Row | None = None
    failed: Failure | None = None
    kept: bool = False


def failed(clip: Clip, error: Exception, caller: str) -> Outcome:
    """The outcome of a clip for which something was raised.

    Args:
        clip: which.
        error: what was raised.
        caller: file of the module that called the code; the traceback begins below it.
    """
    message = str(error) or repr(error)
    if isinstance(error, ClipError):
        failure = Failure(type(error).__name__, message, lasts=isinstance(error, BadInput))
    else:
        failure = Failure(type(error).__name__, message, False, *trace(error, caller))
    return Outcome(clip.clip_id, clip.input_digest, failed=failure)


def trace(error: BaseException, caller: str) -> tuple[str, str]:
    """Where an error was raised, and its traceback, both with short paths.

    Args:
        error: what was raised.
        caller: as in `failed`.

    Returns:
        File and line of the innermost frame that is no library's (of the innermost of all, where there is none); the
        traceback as text.
    """
    whole = traceback.TracebackException.from_exception(error)
    while len(whole.stack) > 1 and whole.stack[0].filename == caller:
        whole.stack.pop(0)
    frames = list(whole.stack)
    own = [frame for frame in frames if not _is_library(frame.filename)] or frames
    place = f"{_short(own[-1].filename)}:{own[-1].lineno}" if own else "nowhere"
    part: traceback.TracebackException | None = whole
    seen: set[int] = set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        for frame in part.stack:
            frame.line  # noqa: B018  # read before the file cannot be found under its name any more
            frame.filename = _short(frame.filename)
        part = part.__cause__ or part.__context__
    return place, "".join(whole.format())


def _is_library(name: str) -> bool:
    """Whether a file came with Python or was installed; this project, where it is installed itself, is no library."""
    path = Path(name)
    below = any(path.is_relative_to(folder) for folder in LIBRARIES)
    return name.startswith("<") or (below and not path.is_relative_to(PROJECT / "mer_pipeline"))


def _short(name: str) -> str:
    """A file's path relative to the libraries, or to the current folder or the project, wherever it lies."""
    path = Path(name)
    for folder in LIBRARIES if _is_library(name) else (Path.cwd(), PROJECT):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.name
