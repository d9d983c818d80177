"""What every stage's main shares: typer, errors as one sentence with an exit code, a log, a progress bar.

A stage is a function of no or few arguments that returns the line to print:

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

from mer_pipeline import numerics
from mer_pipeline.cli.checkout import check_code
from mer_pipeline.cli.logs import start_logging
from mer_pipeline.errors import Bug, MerError
from mer_pipeline.outcome import trace
from mer_pipeline.project import Project
from mer_pipeline.run import Progress, run
from mer_pipeline.runs import Summary, remember_run
from mer_pipeline.runtime import NO_STORE, Stopped, load_runtime, stop_on_signals
from mer_pipeline.store.inputs import Inputs, read_file
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, read_folder
from mer_pipeline.transform import Item, Transform

P = ParamSpec("P")

log = logging.getLogger(__name__)


def stage(main: Callable[P, str]) -> Callable[P, None]:
    """Wrap a stage's main: print its line, turn errors into one sentence and an exit code, and bugs into a traceback.

    Exit codes: 1 the stage could not finish, 2 something a person gave is wrong, 130 Ctrl-C, 143 SIGTERM.
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

    # typer reads the signature; the wrapped function prints, so it returns nothing.
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


def run_stage(transform: Transform[Item], out: str, shards: ShardParams, quality: QualityParams) -> str:
    """Run a transform on the project's tables and write the table `out`."""
    project, places = Project(), {source.table: Project().table(source.table) for source in transform.sources}
    note = transform.note(functools.partial(_clip_ids, places[transform.sources[0].table]))
    summary = run(
        transform,
        places,
        project.table(out),
        project.quarantine(transform.name),
        shards=shards,
        quality=quality,
        runtime=load_runtime(),
        progress=progress_bar(transform.name),
    )
    return f"{summary}; {note}" if note else str(summary)


def _clip_ids(place: Path) -> frozenset[str]:
    table = read_folder(place, ["clip_id"]) if place.is_dir() else read_file(place, ["clip_id"])
    return frozenset(table["clip_id"].to_pylist())


def inputs_of(transform: Transform[Item], shards: int) -> Inputs:
    """The tables that a transform reads.

    Raises:
        StageError: one of them is not there.
    """
    places = {source.table: Project().table(source.table) for source in transform.sources}
    return Inputs(transform.sources, places, shards)


def progress_bar(label: str) -> Progress:
    """A bar with rate and time left on standard error; nothing unless that is a terminal, and not for short work."""
    if not sys.stderr.isatty():
        return lambda done, total: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """Clips a second."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f}/s", style="dim")

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label, total=None)
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        if not bar.live.is_started and time.monotonic() - started > 2:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return tell
