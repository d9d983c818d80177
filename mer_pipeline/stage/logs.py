"""Where the messages of all modules go: warnings to standard error, and everything to `.mer/logs/<stage>.log`.

Modules write to `logging.getLogger(__name__)`. A record may have `place`, a file and line, and `details`, such as a
traceback: details go to the file alone, and standard error shows a module's message once for each place.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mer_pipeline.config.project import Project

LOGS = Project().logs
MAX_BYTES = 4_000_000  # of a log; the one before it is kept as well


def start_logging(stage: str) -> Path:
    """Send all messages to where they belong, for the rest of this process.

    Args:
        stage: such as "embed-voice".

    Returns:
        The log file. It is there with its first message, unless this folder cannot be written.
    """
    log = logging.getLogger("mer_pipeline")
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(_Terminal(logging.WARNING))
    path = LOGS / f"{stage}.log"
    with suppress(OSError):  # the work can be done without
        LOGS.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8", delay=True)
        file.setFormatter(_Details("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(file)
    return path


class _Terminal(logging.Handler):
    """Standard error as it is at the time: a progress bar puts itself below what is written there."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._shown: set[tuple[str, object]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """One line, once for each place."""
        place = getattr(record, "place", None)
        if place is not None:
            if (record.name, place) in self._shown:
                return
            self._shown.add((record.name, place))
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


class _Details(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A line, and the details below it."""
        details = getattr(record, "details", None)
        line = super().format(record)
        return line if details is None else f"{line}\n{str(details).rstrip()}"
