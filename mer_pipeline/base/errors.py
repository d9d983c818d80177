"""The errors that this project raises on purpose, and what happens after each.

MerError                    its message says what is wrong, where, and how to correct it
├── UsageError              exit 2: an input or a setting is wrong; found before any work is done
│   ├── ParamsError         params.yaml
│   ├── DatasetError        the dataset folder or one of its CSVs
│   ├── CheckpointError     a model's files
│   ├── ComponentError      a component that is not built in: its code cannot be imported or does not fit
│   ├── Undigestible        something decides the values of rows, but cannot be made a part of their fingerprint
│   └── NumericsError       libraries would not compute with the instruction set that params.yaml asks for
├── StageError              exit 1: the stage ran and could not finish
│   ├── TooManyFailed       more clips failed than `quality.max_failed` allows
│   ├── Bug                 the code itself fails, for every clip of the first batch
│   └── StoreError          the store is full or cannot be reached
│       └── ReadOnlyStore   rows can be read from the store, but new rows cannot be kept
├── DownloadError           exit 1: a server of checkpoints cannot be reached, or sends something else than it states
└── ClipError               concerns one clip; it is recorded in a table and never ends a run
    ├── Skip                there is nothing to compute (no face, no sound): a row with `valid=false` and the reason
    ├── BadInput            the clip itself is broken: it is quarantined, and the store remembers the failure
    │   └── Undecodable     decoding it ends the process that decodes: it crashes, or takes too much time or memory
    └── Transient           the failure may pass: it is retried, then quarantined, and never remembered

Any other exception that a transform raises for a clip is a bug in its code; `outcome.py` records it with a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MerError(Exception):
    """Base of all errors that are raised on purpose.

    Attributes:
        exit_code: the status with which a stage or the command `mer` exits.
    """

    exit_code = 1


class UsageError(MerError):
    """An input or a setting that a person gave is wrong. It is raised before any work is done."""

    exit_code = 2


class ParamsError(UsageError):
    """A value in params.yaml is unknown, missing or of the wrong type."""


class DatasetError(UsageError):
    """The dataset's folder, or one of its CSV files, does not have the form that the adapter reads."""


class CheckpointError(UsageError):
    """A model's files are missing, are unsafe, or do not fit the encoder family that should load them."""


class ComponentError(UsageError):
    """The code of a component that is not built in cannot be imported, or has no class that fits."""


class Undigestible(UsageError):
    """A transform holds an object, or its code reads a value, that cannot be digested.

    Without a digest, a later run with another value would have the same fingerprint and re-use wrong rows.
    """


class NumericsError(UsageError):
    """A numerical library was loaded before its instruction set could be chosen, or it offers no such choice."""


class StageError(MerError):
    """A stage ran and could not finish."""


class TooManyFailed(StageError):
    """More clips failed than `quality.max_failed` allows."""


class Bug(StageError):
    """The code that computes is at fault.

    It raised an undocumented exception, either for every clip of the first batch or while a head's module was used.
    """


class StoreError(StageError):
    """The store of rows is full or cannot be reached."""


class ReadOnlyStore(StoreError):
    """Rows can be read from the store, but new rows cannot be kept in it."""


class DownloadError(MerError):
    """A server of checkpoints cannot be reached, breaks off, or sends something else than it states."""


class ClipError(MerError):
    """Base of the errors that concern one clip. The runner records them in a table, and the run goes on."""


class Skip(ClipError):
    """There is nothing to compute for this clip: its row says `valid=false` with this reason."""


class BadInput(ClipError):
    """The clip itself is broken: it goes to the quarantine and stays there until the bytes of its files change."""


class Undecodable(BadInput):
    """Decoding the clip ended its process twice, the second time alone in a new one: it crashes, or takes too much."""


class Transient(ClipError):
    """The failure may pass (a busy disk, a server that does not answer). The clip is retried; nothing is remembered.

    Args:
        message: what happened.
        tried: whether the caller has already retried as often as is sensible.
    """

    def __init__(self, message: str, *, tried: bool = False) -> None:
        super().__init__(message)
        self.tried = tried


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint for an error message: the nearest known word, or all known words where none is near.

    Args:
        word: the unknown word.
        known: the words that would have been accepted.

    Returns:
        The hint in brackets, with a space before it; "" where nothing is known.

    Example:
        >>> did_you_mean("hapy", ["happy", "sad"])
        " (did you mean 'happy'?)"
        >>> did_you_mean("x", ["happy", "sad"])
        ' (known: happy, sad)'
    """
    choices = [str(item) for item in known]
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (known: {', '.join(choices)})" if choices else ""
