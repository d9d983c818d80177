"""Runs that can be killed: a process that has imported everything forks one child per run, and kills it on demand.

What a run imports is learnt from those before it: a child that ended well names its modules, and the process that forks
imports them.

    python -m tests.history.zygote tests.history.cheap:run_once

reads one JSON object a line from standard input, {"kwargs": {...}, "cwd": ..., "env": {...}, "kill_after_s": null or
seconds}, and answers each with {"rc": exit status, negative for a signal, "error": last line of standard error}.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


class Zygote:
    """The parent's side."""

    def __init__(self, target: str) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.history.zygote", target],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT,
        )  # fmt: skip

    def run(
        self, cwd: Path, kill_after_s: float | None = None, env: dict[str, str] | None = None, **kwargs: Any
    ) -> int:
        """Exit status of one run; an error that was not asked for is raised here."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"kwargs": kwargs, "cwd": str(cwd), "env": env or {}, "kill_after_s": kill_after_s}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        self.error = answer["error"]
        if answer["rc"] not in {0, -signal.SIGKILL} and not kwargs.get("may_fail"):
            raise AssertionError(f"a run failed: {answer}")
        return int(answer["rc"])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(target: str) -> None:
    """The child's side: fork, run, answer."""
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    importlib.import_module(module).warm_up()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the runs print is not an answer
    for line in sys.stdin:
        order = json.loads(line)
        gc.freeze()  # else a child's first collection would touch, and thereby copy, every page
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(function, order, writer)
        os.close(writer)
        with os.fdopen(reader) as told:
            text = told.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            for module in text.split():
                with contextlib.suppress(ImportError):  # some are made by others, not found by name
                    importlib.import_module(module)
        print(json.dumps({"rc": status, "error": text if status else ""}), file=answers, flush=True)


def _child(function: Any, order: dict[str, Any], writer: int) -> None:
    code = 1
    try:
        os.chdir(order["cwd"])
        os.environ.update(order["env"])
        if order["kill_after_s"] is not None:
            threading.Timer(order["kill_after_s"], os.kill, (os.getpid(), signal.SIGKILL)).start()
        before = set(sys.modules)
        function(**order["kwargs"])
        os.write(writer, "\n".join(name for name in list(sys.modules) if name not in before).encode())
        code = 0
    except BaseException as error:
        os.write(writer, (f"{type(error).__name__}: {error}\n{traceback.format_exc()}")[-60_000:].encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
