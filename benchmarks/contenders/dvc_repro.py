"""A plain DVC stage: `dvc repro` of one command, with everything that it reads among its deps and params."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

from contenders.job import PARAMS, RESULT, SPENT, WEIGHTS, measure

STAGE_START = Path("stage-start.json")

STAGE = f"""\
stages:
  features:
    cmd: "{sys.executable} -m contenders.dvc_stage"
    deps: [clips.csv, wavs, {WEIGHTS}, workload]
    params:
      - {PARAMS}: [pad_to, shifts]
    outs: [{RESULT}]
"""


def prepare() -> None:
    """Make the workspace a DVC project; not timed."""
    Path("dvc.yaml").write_text(STAGE)
    Path(".dvcignore").write_text("__pycache__\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.check_update", "false"], check=True)


def work() -> None:
    """What the command line does."""
    from dvc.cli import main

    if main(["repro", "--quiet"]):
        raise SystemExit("dvc repro failed")


if __name__ == "__main__":
    if sys.argv[1:] == ["prepare"]:
        prepare()
    else:
        for module in ("dvc.cli", "dvc.commands.repro", "dvc.repo.reproduce"):  # start-up, not work
            importlib.import_module(module)
        STAGE_START.unlink(missing_ok=True)
        measure(work)
        if STAGE_START.exists():  # the stage is a second process; its imports are no more counted than ours
            start, cpu = json.loads(STAGE_START.read_text())
            spent = json.loads(SPENT.read_text())
            spent |= {key: spent[key] + sign * by for key, sign, by in (("start", 1, start), ("work", -1, start))}
            spent["cpu"] -= cpu
            SPENT.write_text(json.dumps(spent))
