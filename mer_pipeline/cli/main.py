"""The command `mer`, which users run beside `dvc repro`.

Each subcommand imports what it needs when it runs, so `mer --help` is fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mer_pipeline.cli.groups import enrich, export, models, quarantine, store
from mer_pipeline.config.project import Project

app = typer.Typer(
    help="Folders of emotional talking-head clips to features, clean labels and a trained emotion recogniser. "
    "`mer init` describes your clips, `dvc repro` does the work, `mer summary` says what came out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
for name, group in {
    "enrich": enrich, "export": export, "models": models, "store": store, "quarantine": quarantine
}.items():  # fmt: skip
    app.add_typer(group, name=name)


@app.command()
def init(
    data: Annotated[Path, typer.Option(help="Folder of clips.")],
    profile: Annotated[
        str, typer.Option(help="starter, starter-pretrained, ecmf, mertools or demo: see profiles/.")
    ] = "starter",
    csv: Annotated[Path | None, typer.Option(help="CSV file that describes the clips; default: searched for.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="KEY=COLUMN, e.g. group=actor; may be given again. Keys: those of dataset.columns."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a params.yaml that was edited.")] = False,
    yes: Annotated[
        bool | None, typer.Option("--yes/--no", help="Merge labels that differ by case only, without asking; or don't.")
    ] = None,
    target: Annotated[
        Literal["class", "classes", "multilabel", "regression"] | None,
        typer.Option(help="What is predicted; default: class. classes: labels that are numbers are codes of classes."),
    ] = None,
    media: Annotated[bool, typer.Option("--media/--no-media", help="Whether there are media files.")] = True,
    language: Annotated[
        Literal["zh", "en"] | None, typer.Option(help="Language of the words; default: that of the transcripts.")
    ] = None,
    llm: Annotated[
        bool,
        typer.Option("--llm/--no-llm", help="Whether a language model writes the context where the profile says so."),
    ] = True,
) -> None:
    """Write params.yaml for a folder of clips, and say how many there are of each class and split."""
    from mer_pipeline.cli.columns import ask_terminal
    from mer_pipeline.cli.init import write_params

    named, numbers = dict(pair.partition("=")[::2] for pair in column or ()), target == "classes"
    ask = ask_terminal if yes is None else lambda _: yes
    print(
        write_params(
            profile,
            data,
            csv,
            force=force,
            columns=named,
            ask=ask,
            numbers=numbers,
            kind="class" if target == "classes" else target,
            media=media,
            language=language,
            llm=llm,
        )
    )


@app.command()
def summary() -> None:
    """Show the main results of the last `dvc repro`, and what to do next."""
    from mer_pipeline.cli.summary import summarise

    print(summarise(Project()))


@app.command()
def doctor() -> None:
    """Look at all that a run needs, and say what is wrong and how to mend it. If anything is, exit with 1."""
    from mer_pipeline.cli.doctor import doctor as looked

    raise typer.Exit(looked(Project()))


@app.command()
def plan() -> None:
    """Show what `dvc repro` would do: which stages run and why, how many rows are computed, the time and the disk."""
    from mer_pipeline.cli.plan import make_plan, plan_text

    print(plan_text(make_plan(Project())))


@app.command()
def explain(
    stage: Annotated[
        str,
        typer.Argument(help="A table (frames, cues, replies, ...), an encoder or a judge."),
    ],
    clip: Annotated[str, typer.Argument(help="The clip's name.")],
    every: Annotated[bool, typer.Option("--all", help="List every definition that the stage's code reaches.")] = False,
) -> None:
    """Explain why a row is re-used or computed: its input, the parts of its fingerprint, and which of them changed."""
    from mer_pipeline.cli.explain import explain as explained

    print(explained(stage, clip, every_part=every))


@app.command()
def runs() -> None:
    """Show what the last run of each stage did, and how it spent its time."""
    from mer_pipeline.cli.runs import runs_text

    print(runs_text())


@app.command()
def verify(
    stages: Annotated[list[str] | None, typer.Argument(help="Only these stages or encoders; default: all.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of rows of each stage.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    tolerance: Annotated[float, typer.Option(min=0, help="Relative and absolute; 0: bit for bit.")] = 0.0,
) -> None:
    """Compute a random sample of rows of every stage again, and list those that differ. If any do, exit with 1."""
    from mer_pipeline.cli.verify import verify as verified

    raise typer.Exit(verified(stages or (), sample, seed, tolerance))


@app.command()
def compute(
    step: Annotated[str, typer.Argument(help="A table (frames, tracks, ...), an encoder or a judge.")],
    part: Annotated[str, typer.Option(help="K/N: the K-th of N parts of its shards, e.g. 3/16.")] = "1/1",
) -> None:
    """Compute a part of a step's missing rows into the store, on one of several machines; `dvc repro` takes them."""
    from mer_pipeline.base.runtime import Stopped, load_runtime, stop_on_signals
    from mer_pipeline.cli.compute import compute_part
    from mer_pipeline.config.params import load_params
    from mer_pipeline.stage.progress import progress_bar

    stop_on_signals()
    try:
        print(compute_part(step, part, load_params(), load_runtime(), Project(), progress_bar(step)))
    except Stopped as stop:
        print("stopped; what was computed is in the store: run the same command to go on", file=sys.stderr)
        raise typer.Exit(stop.exit_code) from None


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A project's folder, a git revision, workspace, or a store.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other side, as A; relative differences refer to it.")],
    tolerance: Annotated[float, typer.Option(min=0.0, help="Relative and absolute, as in numpy.allclose.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare two projects, revisions or stores by value, and show the differences. If there are any, exit with 1."""
    from mer_pipeline.cli.diff import run_diff

    raise typer.Exit(run_diff(a, b, tolerance, Project(), json_wanted=as_json))


@app.command()
def people(
    clips: Annotated[
        list[str] | None, typer.Argument(help="Names of clips; default: those with several people, least sure first.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page to write; default: .mer/people.html.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many clips, where none is named.")] = 24,
) -> None:
    """Write a page that shows who is seen in clips and who was taken for the speaker, with mouths and sound."""
    from mer_pipeline.report.people import show_people

    print(show_people(clips or (), most, out, Project()))


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Films and sounds; each is one clip.")],
    text: Annotated[str | None, typer.Option(help="What is said in the file, where there is one file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the result as CSV.")] = False,
) -> None:
    """Predict any films and sounds with the trained heads. If a file has a problem, say which, and exit with 1."""
    import gc

    from mer_pipeline.base.errors import UsageError

    if as_json and as_csv:
        raise UsageError("--json and --csv are two forms of one result; give one of them")
    if len(files) <= 100:  # they leave little garbage, and the search for it would take a second of the first answer
        gc.disable()
    from mer_pipeline.base.runtime import Stopped, stop_on_signals
    from mer_pipeline.cli.predict import run_predict

    stop_on_signals()
    try:
        raise typer.Exit(run_predict(files, text, "json" if as_json else "csv" if as_csv else "table"))
    except Stopped as stop:
        print("stopped; what was computed is in the store: run the same command to go on", file=sys.stderr)
        raise typer.Exit(stop.exit_code) from None


@app.command()
def score(
    truth: Annotated[Path, typer.Argument(help="CSV with columns name and discrete; empty labels do not count.")],
    predictions: Annotated[
        str | None,
        typer.Argument(help="CSV or Parquet, or a run with out-of-fold predictions. Default: data/submission.csv."),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Head of out-of-fold predictions; default: the selected.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Score predictions against true labels, as the challenge does, with intervals over speakers and for each class."""
    from mer_pipeline.cli.score import run_score

    run_score(truth, predictions, head, Project(), json_wanted=as_json)


@app.command()
def compare(
    a: Annotated[
        str | None,
        typer.Argument(metavar="[A]", help="A run: project, data/fusion or git revision; or a file of predictions."),
    ] = None,
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="The other run, as A; default: workspace.")] = None,
    head: Annotated[str | None, typer.Option(help="Head of A and B; default: the selected one of each.")] = None,
    against: Annotated[str | None, typer.Option(help="Head of B, to compare two heads of one run.")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="CSV with columns name and discrete; default: given labels.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Compare predictions of the test candidates, not out-of-fold ones.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Test whether B's predictions are better than A's on the same clips, by a paired bootstrap over speakers."""
    from mer_pipeline.cli.compare import run_compare

    run_compare(a, b, head, against, truth, Project(), test=test, json_wanted=as_json)


def main() -> None:
    """Run `mer`. An error of this project is printed as one sentence, and sets the exit code."""
    from mer_pipeline.base.errors import MerError

    try:
        app()
    except MerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
