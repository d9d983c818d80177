"""A bundle: a folder with fetched checkpoints that is carried to a machine without network.

`mer models fetch --to` writes it in the layout of models/, and `--from` copies from it what is missing. Every file is
compared with the record of the fetch, on the way in and on the way out; a record that names other files is none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from mer_pipeline.base.atomic import claimed, sweep
from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.config.project import MODELS
from mer_pipeline.models.checkpoint import folder_of
from mer_pipeline.models.fetch import Say, alone, is_present
from mer_pipeline.models.origin import NAME, differing, read_origin


def take_all(specs: Iterable[str], bundle: Path, say: Say, models: Path = MODELS) -> None:
    """Copy the checkpoints that are missing from a folder that `mer models fetch --to` wrote. No network is needed.

    Args:
        specs: their names in params.yaml.
        bundle: that folder.
        say: is called with a line when a folder is finished.
        models: the folder in which they are to be.

    Raises:
        CheckpointError: some are not in the bundle, or not as they were fetched.
    """
    problems: list[str] = []
    todo: list[tuple[Path, Path]] = []
    for spec in dict.fromkeys(specs):
        try:
            if is_present(spec, models):
                continue
        except CheckpointError as error:
            problems.append(str(error))
            continue
        there = folder_of(spec, bundle)
        origin = read_origin(there)
        if origin is None:
            problems.append(f"checkpoint '{spec}' is not in {bundle}")
        elif wrong := differing(there, origin):
            problems.append(f"checkpoint '{spec}': {there / wrong[0]} is not as it was fetched; copy the bundle again")
        else:
            todo.append((there, folder_of(spec, models)))
    if problems:
        raise CheckpointError("; ".join(problems))
    models.mkdir(parents=True, exist_ok=True)
    sweep(models)
    with alone(models):
        for there, folder in todo:
            copy_whole(there, folder)
            say(f"{folder} is there")


def copy_whole(there: Path, folder: Path) -> None:
    """Copy the files of a fetched checkpoint. The folder appears whole and checked, or not at all.

    Raises:
        CheckpointError: what was written is not what the record has.
    """
    origin = read_origin(there)
    assert origin is not None
    with claimed(folder, Path.mkdir) as temporary:
        for name in (*origin.files, NAME):
            shutil.copy(there / name, temporary / name)
        if wrong := differing(temporary, origin):
            raise CheckpointError(f"{folder / wrong[0]} was not written as it was read; is the disk sound?")
        if folder.exists():
            shutil.rmtree(folder)  # it was damaged
        temporary.rename(folder)
