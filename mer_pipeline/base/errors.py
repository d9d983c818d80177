"""Every error that this project raises on purpose, and what becomes of each.

MerError                    one clear sentence: what, where, and how to mend it
├── UsageError              exit 2: what a person gave is wrong; found before any work is done
│   ├── ParamsError         params.yaml
│   ├── DatasetError        the dataset folder or one of its CSVs
│   ├── CheckpointError     a model's files
│   ├── ComponentError      a component that is not built in: its code cannot be imported or does not fit
│   ├── Undigestible        something decides rows and cannot enter their key
│   └── NumericsError       libraries would compute otherwise than params.yaml says
├── StageError              exit 1: the stage ran and could not finish
│   ├── TooManyFailed       more clips failed than `quality.max_failed` allows
│   ├── Bug                 the code itself fails, for every clip of the first batch
│   └── StoreError          the store is full or cannot be reached
│       └── ReadOnlyStore   rows can be read from it, and new ones not kept
└── ClipError               one clip; data, never the end of a run; anything undocumented is a bug (outcome.py)
    ├── Skip                nothing to do: a row with `valid=false` and the reason (no face, no sound)
    ├── BadInput            the clip itself is broken: quarantined and remembered
    │   └── Undecodable     decoding it ends the process that decodes: it crashes, or takes too much time or memory
    └── Transient           may go well next time: retried, then quarantined, never remembered
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MerError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what a stage or `mer` exits with."""

    exit_code = 1


class UsageError(MerError):
    """Something that a person gave is wrong; raised before any work is done."""

    exit_code = 2


class ParamsError(UsageError):
    """A value in params.yaml is unknown, missing or of the wrong type."""


class DatasetError(UsageError):
    """The dataset folder or one of its CSV files is not what the adapter reads."""


class CheckpointError(UsageError):
    """A model's files are missing, unsafe or do not fit the family that should load them."""


class ComponentError(UsageError):
    """The code of a component that is not built in cannot be imported, or has no class that fits."""


class Undigestible(UsageError):
    """A transform holds something, or its code reads something, of which nobody can say whether it is what it was."""


class NumericsError(UsageError):
    """A library that computes was loaded before it could be told how, or cannot be told."""


class StageError(MerError):
    """A stage ran and could not finish."""


class TooManyFailed(StageError):
    """More clips failed than `quality.max_failed` allows."""


class Bug(StageError):
    """The code that computes is at fault: it raised something undocumented, for every clip of the first batch or as a
    head's module."""


class StoreError(StageError):
    """The store of rows is full or cannot be reached."""


class ReadOnlyStore(StoreError):
    """Rows can be read from the store, and new ones not kept."""


class ClipError(MerError):
    """Something about one clip; the runner turns it into data."""


class Skip(ClipError):
    """There is nothing to compute for this clip: its row says `valid=false` with this reason."""


class BadInput(ClipError):
    """The clip itself is broken: it goes to the quarantine, and stays there until its bytes change."""


class Undecodable(BadInput):
    """Decoding the clip ends the process that decodes it, also alone in a new one: it crashes, or takes too much."""


class Transient(ClipError):
    """The failure may pass (a busy disk, a server): retried, and never remembered.

    Args:
        message: what happened.
        tried: it was tried again already, as often as is sensible.
    """

    def __init__(self, message: str, *, tried: bool = False) -> None:
        super().__init__(message)
        self.tried = tried


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest known word, or the list of what is known."""
    choices = [str(item) for item in known]
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (known: {', '.join(choices)})" if choices else ""
