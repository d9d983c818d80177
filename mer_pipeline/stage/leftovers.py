"""What a kill leaves behind: temporary files and folders among the tables, and a lock file of DVC's without content.

Every stage removes both when it starts, and says so. DVC refuses to start a stage while its own file is torn, so
`make repro` runs this module first.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from mer_pipeline.base.atomic import sweep
from mer_pipeline.config.project import Project

log = logging.getLogger(__name__)


def clear_leftovers(project: Project) -> list[str]:
    """Remove what no process holds any more; one sentence for each thing."""
    said = [
        f"{project.name_of(path)} was left behind by a run that was killed, and is removed"
        for folder in project.folders
        for path in sorted(sweep(folder))
    ]
    for torn in torn_locks(project):
        if _remove_unless_written(torn):
            said.append("DVC's .dvc/tmp/rwlock was torn when a run was killed, and is removed; DVC makes it anew")
    return said


def torn_locks(project: Project) -> list[Path]:
    """Return DVC's lock files that have no content which DVC can read; there is at most one in a sound project."""
    root = project.root.absolute()
    # The project may be a subfolder of the repository.
    places = (above / ".dvc" / "tmp" / "rwlock" for above in (root, *root.parents))
    return [path for path in places if _is_torn(path)]


def _is_torn(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except OSError:
        return False
    except ValueError:
        return True
    return False


def _remove_unless_written(path: Path) -> bool:
    """Remove the file under DVC's own lock, without which DVC does not write it. False where DVC has that lock."""
    with suppress(OSError):
        guard = os.open(path.with_name("rwlock.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_torn(path):
                path.unlink()
                return True
        finally:
            os.close(guard)
    return False


if __name__ == "__main__":
    for line in clear_leftovers(Project()):
        log.warning("%s", line)
