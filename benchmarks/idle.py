"""Whether anybody else used the machine while something was measured: times on a busy one are nobody's goal."""

import os
import time
from pathlib import Path

from contenders.job import cpu_seconds

BUSY = 5.0  # percent of the machine's CPU time that others may take; above it goals are not judged


class Meanwhile:
    """From now on."""

    def __init__(self) -> None:
        self.began, self.used, self.mine = time.perf_counter(), busy_seconds(), cpu_seconds()

    def seconds(self) -> float:
        """That have gone by."""
        return time.perf_counter() - self.began

    def others(self) -> float:
        """Percent of the machine's CPU time that went to neither this process nor children of it that have ended."""
        theirs = busy_seconds() - self.used - (cpu_seconds() - self.mine)
        return max(0.0, 100 * theirs / (self.seconds() * (os.cpu_count() or 1)))


def busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything."""
    fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")
