"""The decorator of every stage's main function: it adds typer, error messages with exit codes, and a log.

A stage is a function with few or no arguments that returns the line to print:

    @stage
    def main() -> str: ...
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from mer_pipeline.base import numerics
from mer_pipeline.base.errors import Bug, MerError
from mer_pipeline.base.outcome import trace
from mer_pipeline.base.runs import Summary, remember_run
from mer_pipeline.base.runtime import NO_STORE, Stopped, stop_on_signals
from mer_pipeline.config.project import Project
from mer_pipeline.stage.checkout import check_code
from mer_pipeline.stage.leftovers import clear_leftovers
from mer_pipeline.stage.logs import start_logging

P = ParamSpec("P")

log = logging.getLogger(__name__)


def stage(main: Callable[P, str]) -> Callable[P, None]:
    """Wrap a stage's main function as a command.

    The command prints the line that the function returns. A documented error is printed as one sentence, and any other
    exception with its traceback. The command also has the option `--no-store`.

    Exit codes: 1 if the stage could not finish, 2 if an input or a setting is wrong, 130 after Ctrl-C, 143 after
    SIGTERM.
    """

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        if kwargs.pop("no_store", False):
            os.environ["MER_STORE"] = NO_STORE
        stop_on_signals()
        name = "-".join([Path(sys.argv[0]).stem, *(word for word in sys.argv[1:] if not word.startswith("-"))])
        path, started = start_logging(name), time.perf_counter()
        try:
            check_code(Path())
            numerics.check()
            for left in clear_leftovers(Project()):
                log.warning("%s", left)
            line = main(*args, **kwargs)
            log.info("%s", line)
            print(line)
            remember_run(Summary(f"stage-{Path(sys.argv[0]).stem}", seconds=time.perf_counter() - started))
        except MerError as error:
            where = f" (traceback: {path})" if isinstance(error, Bug) else ""
            log.info("error: %s", error)
            print(f"error: {error}{where}", file=sys.stderr)
            sys.exit(error.exit_code)
        except Stopped as stop:
            print(
                "stopped; nothing is half written and what was computed is kept: run the same command to go on",
                file=sys.stderr,
            )
            sys.exit(stop.exit_code)
        except Exception as error:
            place, text = trace(error, __file__)
            print(text, end="", file=sys.stderr)
            log.error("%s at %s, which is a bug (log: %s)", type(error).__name__, place, path, extra={"details": text})
            sys.exit(1)

    # typer reads the signature. The wrapped function prints its line, so its return annotation is None.
    signature = inspect.signature(main, eval_str=True)
    parameters = [*signature.parameters.values(), _NO_STORE]
    wrapped.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


_NO_STORE = inspect.Parameter(
    "no_store",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--no-store", help="Neither use nor keep computed rows.")],
)
