"""The outcome of one clip in a stage: a row, or a failure. It is plain data, so that another process can send it.

A documented error (`errors.py`) is a fact about the clip. Any other exception is a bug in the code that computes. The
failure then has the traceback, which begins where that code was entered. Its paths are relative to the project or to
the folders of the libraries, so that a table with the traceback shows nothing of the machine.
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
        error: name of the class of the exception.
        message: what went wrong, in one sentence.
        lasts: whether the clip itself is broken, so that another try would fail too; the store remembers the failure.
        place: file and line of a bug, such as "mer_pipeline/speech/logmel.py:120"; None if it is no bug.
        traceback: the traceback of a bug; None if it is no bug.
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
    """The result of a stage for one clip. It has `row` or `failed`, or neither if the store has the row already.

    Attributes:
        clip_id, input_digest: as in `Clip`.
        row: the clip's row of the stage's table (`stage_schema`); a skipped clip has a row too, with `valid=false`.
        failed: why the clip has no row.
        kept: whether the process that computed the row has already put it into the store.
    """

    clip_id: str
    input_digest: str
    row: Row | None = None
    failed: Failure | None = None
    kept: bool = False


def failed(clip: Clip, error: Exception, caller: str) -> Outcome:
    """Return the outcome of a clip for which an exception was raised.

    Args:
        clip: the clip.
        error: the exception.
        caller: path of the module that called the transform; its frames at the beginning of the traceback are left
            out.
    """
    message = str(error) or repr(error)
    if isinstance(error, ClipError):
        failure = Failure(type(error).__name__, message, lasts=isinstance(error, BadInput))
    else:
        failure = Failure(type(error).__name__, message, False, *trace(error, caller))
    return Outcome(clip.clip_id, clip.input_digest, failed=failure)


def trace(error: BaseException, caller: str) -> tuple[str, str]:
    """Return where an exception was raised, and its traceback, both with short paths.

    Args:
        error: the exception.
        caller: as in `failed`.

    Returns:
        The file and line of the innermost frame outside the libraries (of the innermost frame, if all are in
        libraries), and the traceback as text.
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
            # This reads and caches the line of code, which cannot be found any more after the file name is changed.
            frame.line  # noqa: B018
            frame.filename = _short(frame.filename)
        part = part.__cause__ or part.__context__
    return place, "".join(whole.format())


def _is_library(name: str) -> bool:
    """Return whether a file is part of Python or of an installed package other than this project."""
    path = Path(name)
    below = any(path.is_relative_to(folder) for folder in LIBRARIES)
    return name.startswith("<") or (below and not path.is_relative_to(PROJECT / "mer_pipeline"))


def _short(name: str) -> str:
    """Return a file's path relative to the libraries' folder, the current folder or the project; else its name."""
    path = Path(name)
    for folder in LIBRARIES if _is_library(name) else (Path.cwd(), PROJECT):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.name
