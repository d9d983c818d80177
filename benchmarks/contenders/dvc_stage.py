"""What the DVC stage runs: the bare loop, as a script of its own. It notes what its own start cost."""

import json

from contenders.bare import work
from contenders.dvc_repro import STAGE_START
from contenders.job import cpu_seconds, since_start

if __name__ == "__main__":
    STAGE_START.write_text(json.dumps([since_start(), cpu_seconds()]))
    work()
