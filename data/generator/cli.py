"""The command: make the split, check the one on disk, or print the limits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from generator.check import compare_clips, compare_table
from generator.odd import Odd, choose, rename, write_clip
from generator.plan import Clip, limits, make_plan
from generator.readme import readme
from generator.tables import make_tables, write_tables

app = typer.Typer(add_completion=False)
out_console = Console(stderr=True)


def planned(seed: int) -> tuple[list[Clip], list[Odd]]:
    """All clips with their final names, and which of them are odd."""
    clips = rename(make_plan(seed))
    return clips, choose(clips)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of the split.")] = Path("data/demo"),
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = 7,
    check: Annotated[bool, typer.Option("--check", help="Compare the split on disk with what would be made.")] = False,
    count: Annotated[int, typer.Option(help="With --check: so many clips, evenly spread; 0 is all.", min=0)] = 0,
    show_limits: Annotated[bool, typer.Option("--limits", help="Print how far each modality can be read.")] = False,
) -> None:
    """Make the demo split: a small synthetic dataset in the layout of MER2025."""
    if show_limits:
        for name, accuracy in limits().items():
            typer.echo(f"{name:8} {accuracy:.3f}")
    elif check:
        differences = find_differences(out, seed, count)
        for line in differences:
            typer.echo(line, err=True)
        if differences:
            raise typer.Exit(1)
    else:
        make(out, seed)


def make(out: Path, seed: int) -> None:
    """Write the whole split. Files of other names that lie there are left alone; ``--check`` names them."""
    clips, odds = planned(seed)
    what = {o.name: o.what for o in odds}
    (out / "video").mkdir(parents=True, exist_ok=True)
    for clip in track(clips, "clips", console=out_console, disable=not out_console.is_terminal):
        write_clip(seed, clip, what.get(clip.name), out / "video" / f"{clip.name}.mp4")
    write_tables(make_tables(seed, clips, odds), out)
    (out / "README.md").write_text(readme(seed, clips, odds), encoding="utf-8")


def find_differences(kept: Path, seed: int, count: int) -> list[str]:
    """One line for each thing that is not as this code makes it; ``count`` clips are made again, 0 for all."""
    clips, odds = planned(seed)
    what = {o.name: o.what for o in odds}
    tables = make_tables(seed, clips, odds)
    found = {name: compare_table(rows, kept / name) for name, rows in tables.items()}
    text = kept / "README.md"
    found["README.md"] = None if text.exists() and text.read_text("utf-8") == readme(seed, clips, odds) else "differs"
    files = {f"{c.name}.mp4" for c in clips}
    for file in sorted(p.name for p in (kept / "video").glob("*")):
        found[f"video/{file}"] = None if file in files else "not of this split"
    some = clips if count == 0 else [clips[i * len(clips) // count] for i in range(min(count, len(clips)))]
    with tempfile.TemporaryDirectory() as folder:
        for clip in track(some, "clips", console=out_console, disable=not out_console.is_terminal):
            made = Path(folder) / "clip.mp4"
            write_clip(seed, clip, what.get(clip.name), made)
            found[f"video/{clip.name}.mp4"] = compare_clips(made, kept / "video" / f"{clip.name}.mp4")
    return [f"{name}: {difference}" for name, difference in found.items() if difference]
