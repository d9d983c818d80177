"""Send the messages of all modules to `.mer/logs/<stage>.log`, and the warnings to standard error too.

Modules write to `logging.getLogger(__name__)`. A log record may have the attributes `place` (a file and line) and
`details` (such as a traceback). The details go to the file alone. Standard error shows only the first message of a
module for each place.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mer_pipeline.config.project import Project

LOGS = Project().logs
MAX_BYTES = 4_000_000  # largest size of a log file; the previous file is kept too


def start_logging(stage: str) -> Path:
    """Set up logging for the rest of this process.

    Args:
        stage: the name of the stage, such as "embed-voice".

    Returns:
        The path of the log file. The file is made at the first message; if its folder cannot be written, there is
        none.
    """
    log = logging.getLogger("mer_pipeline")
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(_Terminal(logging.WARNING))
    path = LOGS / f"{stage}.log"
    with suppress(OSError):  # the stage can run without a log file
        LOGS.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8", delay=True)
        file.setFormatter(_Details("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(file)
    return path


class _Terminal(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar replaces so that messages appear above the bar."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._shown: set[tuple[str, object]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message as one line. If the record has a place, only the first message for that place is shown."""
        place = getattr(record, "place", None)
        if place is not None:
            if (record.name, place) in self._shown:
                return
            self._shown.add((record.name, place))
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


class _Details(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the message as a line, with the record's details below it."""
        details = getattr(record, "details", None)
        line = super().format(record)
        return line if details is None else f"{line}\n{str(details).rstrip()}"
