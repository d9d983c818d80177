"""`mer`: what a person types beside `dvc repro`. Commands import what they need when they run, so help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mer_pipeline.config.project import Project

app = typer.Typer(
    help="Folders of emotional talking-head clips to features, clean labels and a trained emotion recogniser. "
    "`mer init` describes your clips, `dvc repro` does the work, `mer summary` says what came out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
models = typer.Typer(help="Model checkpoints.", no_args_is_help=True)
store = typer.Typer(help="The store of computed rows.", no_args_is_help=True)
quarantine = typer.Typer(help="Clips that a stage could not do.", no_args_is_help=True)
enrich = typer.Typer(help="What a model writes about each clip's words.", no_args_is_help=True)
app.add_typer(enrich, name="enrich")
app.add_typer(models, name="models")
app.add_typer(store, name="store")
app.add_typer(quarantine, name="quarantine")

Url = Annotated[str | None, typer.Option("--store", help="Another store than the one that stages here use.")]


@app.command()
def init(
    data: Annotated[Path, typer.Option(help="Folder of clips.")],
    profile: Annotated[str, typer.Option(help="demo, ecmf or mertools: see profiles/.")] = "demo",
    csv: Annotated[
        Path | None, typer.Option(help="CSV that describes the clips; found by itself where possible.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="KEY=COLUMN, e.g. group=actor; may be given again. Keys: those of dataset.columns."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a params.yaml that was edited.")] = False,
    yes: Annotated[
        bool | None, typer.Option("--yes/--no", help="Merge labels that differ by case only, without asking; or don't.")
    ] = None,
    target: Annotated[
        Literal["classes"] | None, typer.Option(help="classes: labels that are numbers are codes of classes.")
    ] = None,
    media: Annotated[bool, typer.Option("--media/--no-media", help="Whether there are media files.")] = True,
) -> None:
    """Write params.yaml for a folder of clips, and say how many there are of each class and split."""
    from mer_pipeline.cli.columns import ask_terminal
    from mer_pipeline.cli.init import write_params

    named, numbers = dict(pair.partition("=")[::2] for pair in column or ()), target == "classes"
    ask = ask_terminal if yes is None else lambda _: yes
    print(write_params(profile, data, csv, force=force, columns=named, ask=ask, numbers=numbers, media=media))


@app.command()
def summary() -> None:
    """Say what came out of the last `dvc repro`, and what to do next."""
    from mer_pipeline.cli.summary import summarise

    print(summarise(Project()))


@app.command()
def plan() -> None:
    """Say what `dvc repro` would do: which stages run and why, rows known and to compute, time and disk."""
    from mer_pipeline.cli.plan import make_plan, plan_text

    print(plan_text(make_plan(Project())))


@app.command()
def explain(
    stage: Annotated[
        str,
        typer.Argument(help="A table (frames, cues, replies, ...), an encoder or a judge."),
    ],
    clip: Annotated[str, typer.Argument(help="The clip's name.")],
    every: Annotated[bool, typer.Option("--all", help="Every definition that the stage's code reaches.")] = False,
) -> None:
    """Say why a row is re-used or computed: the parts of its key, and which of them changed."""
    from mer_pipeline.cli.explain import explain as explained

    print(explained(stage, clip, every_part=every))


@app.command()
def runs() -> None:
    """Say what the last run of each stage did and where its time went."""
    from mer_pipeline.cli.runs import runs_text

    print(runs_text())


@app.command()
def verify(
    stages: Annotated[list[str] | None, typer.Argument(help="Only these stages or encoders; default: all.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Rows of each stage.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    tolerance: Annotated[float, typer.Option(min=0, help="Relative and absolute; 0: to the last bit.")] = 0.0,
) -> None:
    """Compute a random sample of rows of every stage again; exit with 1 and their names where any differ."""
    from mer_pipeline.cli.verify import verify as verified

    raise typer.Exit(verified(stages or (), sample, seed, tolerance))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A project's folder, a git revision, workspace, or a store.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise; relative differences refer to it.")],
    tolerance: Annotated[float, typer.Option(min=0.0, help="Relative and absolute, as in numpy.allclose.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare two projects, revisions or stores by value: what differs, and by how much. Exit code 1 where any does."""
    from mer_pipeline.cli.diff import run_diff

    raise typer.Exit(run_diff(a, b, tolerance, Project(), json_wanted=as_json))


@app.command()
def score(
    truth: Annotated[Path, typer.Argument(help="CSV with columns name and discrete; names with a label count.")],
    predictions: Annotated[
        str | None,
        typer.Argument(help="CSV or Parquet, or a run with out-of-fold predictions. Default: data/submission.csv."),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Of out-of-fold predictions; default: the selected one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Score predictions against true labels as the challenge does, with intervals over speakers, also by class."""
    from mer_pipeline.cli.score import run_score

    run_score(truth, predictions, head, Project(), json_wanted=as_json)


@app.command()
def compare(
    a: Annotated[
        str | None,
        typer.Argument(metavar="[A]", help="A run: project, data/fusion or git revision; or a file of predictions."),
    ] = None,
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="Likewise; default: workspace.")] = None,
    head: Annotated[str | None, typer.Option(help="Head of A and B; default: the selected one of each.")] = None,
    against: Annotated[str | None, typer.Option(help="Head of B, to compare two of one run.")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="CSV with columns name and discrete; default: given labels.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="The test candidates' predictions, not out-of-fold ones.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say whether B's predictions are better than A's: a paired bootstrap over speakers, on the same clips."""
    from mer_pipeline.cli.compare import run_compare

    run_compare(a, b, head, against, truth, Project(), test=test, json_wanted=as_json)


@store.command()
def stat(url: Url = None) -> None:
    """List what is kept: per transform and fingerprint, packs, size and when it was last used."""
    from mer_pipeline.cli.store import stat as listed
    from mer_pipeline.cli.store import this_store

    print(listed(this_store(url)))


@store.command("verify")
def verify_store(url: Url = None) -> None:
    """Read every pack and compare it with its checksum; damaged ones are set aside, and the exit code is 1."""
    from mer_pipeline.cli.store import this_store
    from mer_pipeline.cli.store import verify as verified

    wrong = verified(this_store(url))
    print("\n".join(wrong) or "every pack is sound")
    raise typer.Exit(bool(wrong))


@store.command()
def forget(
    step: Annotated[str, typer.Argument(help="A table (frames, cues, ...), an encoder or a judge.")],
    clips: Annotated[list[str] | None, typer.Argument(help="Only these clips; default: all of the step's.")] = None,
    external_responses: Annotated[
        bool, typer.Option("--external-responses", help="Also replies of language models, which cost money.")
    ] = False,
) -> None:
    """Take rows of a step out of the store, so that the next run computes them again."""
    from mer_pipeline.cli.store import forget as forgotten

    print(forgotten(step, clips or (), external_response=external_responses))


@store.command()
def gc(
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what a run used within so many days.")],
    url: Url = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    external_response: Annotated[
        bool, typer.Option("--external-responses", help="Also replies of language models.")
    ] = False,
) -> None:
    """Make space: remove fingerprints that no run used lately."""
    from mer_pipeline.cli.store import gc as collect
    from mer_pipeline.cli.store import this_store

    print(collect(this_store(url), keep_days, dry_run=dry_run, external_response=external_response))


@quarantine.command("list")
def list_quarantine(
    stage: Annotated[str | None, typer.Argument(help="Only of this stage or encoder.")] = None,
) -> None:
    """List the clips that a stage could not do, each with its reason."""
    from mer_pipeline.cli.quarantine import list_text, problems

    print(list_text(problems(stage)))


@quarantine.command()
def retry(
    stage: Annotated[str, typer.Argument(help="Stage or encoder.")],
    clips: Annotated[list[str] | None, typer.Argument(help="Only these clips; default: all of the stage's.")] = None,
) -> None:
    """Forget that clips are broken and run the stage again on them."""
    from mer_pipeline.cli.quarantine import retry as tried

    print(tried(stage, clips or ()))


@enrich.command("estimate")
def enrich_estimate() -> None:
    """Say how many clips would be asked about, and the tokens, cost and time of it."""
    from mer_pipeline.cli.enrich import estimate

    print(estimate())


@enrich.command("ledger")
def enrich_ledger() -> None:
    """Say what the replies in data/ took: requests, tokens, cost, fallbacks; and what the last run did."""
    from mer_pipeline.cli.enrich import ledger_text

    print(ledger_text())


@enrich.command("show")
def enrich_show(clip: Annotated[str, typer.Argument(help="The clip's name.")]) -> None:
    """Show what was asked about a clip, what came back, and the text that came of it."""
    from mer_pipeline.cli.enrich import show

    print(show(clip))


@models.command()
def tiny(
    folder: Annotated[Path, typer.Argument(help="Where to write them; one folder each.")] = Path("models/tiny"),
    kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind, e.g. bert or whisper; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
) -> None:
    """Write small random checkpoints in the real formats, to try every encoder family without a download."""
    from mer_pipeline.models.tiny import KINDS, make_tiny

    for name in kind or sorted(KINDS):
        print(f"{name}: checkpoint: dir:{make_tiny(name, folder / name, seed)}")


@models.command()
def lock() -> None:
    """Write models.lock: the checksums of the checkpoints that params.yaml names. Stages refuse other weights."""
    from mer_pipeline.config.params import load_params
    from mer_pipeline.models.lock import LOCK, checkpoints_of, lock_models

    params = load_params()
    locked = lock_models(checkpoints_of(params.encoders, params.judges, params.enrich))
    print(f"{LOCK}: {', '.join(locked) or 'no encoder or judge has a checkpoint'}")


def main() -> None:
    """Entry point: errors of this project are one sentence and an exit code."""
    from mer_pipeline.base.errors import MerError

    try:
        app()
    except MerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
