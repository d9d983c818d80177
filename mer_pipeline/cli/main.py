"""`mer`: what a person types beside `dvc repro`. Commands import what they need when they run, so help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Folders of emotional talking-head clips to features, clean labels and a trained emotion recogniser. "
    "`mer init` describes your clips, `dvc repro` does the work, `mer summary` says what came out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
models = typer.Typer(help="Model checkpoints.", no_args_is_help=True)
app.add_typer(models, name="models")


@app.command()
def init(
    data: Annotated[Path, typer.Option(help="Folder of clips.")],
    profile: Annotated[str, typer.Option(help="demo, ecmf or mertools: see profiles/.")] = "demo",
    csv: Annotated[
        Path | None, typer.Option(help="CSV that describes the clips; found by itself where possible.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="KEY=COLUMN, e.g. group=actor; may be given again. Keys: name label split group transcript."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a params.yaml that was edited.")] = False,
) -> None:
    """Write params.yaml for a folder of clips."""
    from mer_pipeline.cli.init import write_params

    pairs = [pair.partition("=")[::2] for pair in column or ()]
    print(write_params(profile, data, csv, force=force, columns=dict(pairs)))


@app.command()
def summary() -> None:
    """Say what came out of the last `dvc repro`, and what to do next."""
    from mer_pipeline.cli.summary import summarise

    print(summarise(Path()))


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


def main() -> None:
    """Entry point: errors of this project are one sentence and an exit code."""
    from mer_pipeline.errors import MerError

    try:
        app()
    except MerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
