"""Run a step (`config/steps.py`) on a project's tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import Runtime, load_runtime
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import Step
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.store.inputs import read_file
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, read_folder


@dataclass(frozen=True)
class StepRunner:
    """Makes the tables of steps in one project.

    Attributes:
        project: the project with the tables.
        shards: the number of shards of each table.
        quality: how many clips may fail.
        runtime: the settings of this machine.
        record: whether `mer runs` and `mer plan` are to know of the runs.
    """

    project: Project
    shards: ShardParams
    quality: QualityParams
    runtime: Runtime = field(default_factory=load_runtime)
    record: bool = True

    def __call__(self, step: Step) -> str:
        """Make a step's table.

        Returns:
            One line that says what the run did.

        Raises:
            MerError: as in `run`, or an error when the step's transform is made.
        """
        transform = step.make()
        places = {source.table: self.project.table(source.table) for source in transform.sources}
        note = transform.note(partial(_clip_ids, places[transform.sources[0].table]))
        summary = run(
            transform,
            places,
            self.project.table(step.table),
            self.project.quarantine(step.name),
            shards=self.shards,
            quality=self.quality,
            runtime=self.runtime,
            progress=progress_bar(step.name),
            record=self.record,
        )
        return f"{summary}; {note}" if note else str(summary)


def run_step(step: Step, project: Project, shards: ShardParams, quality: QualityParams) -> str:
    """Make a step's table with the settings of this machine. The arguments are those of `StepRunner`."""
    return StepRunner(project, shards, quality)(step)


def _clip_ids(place: Path) -> frozenset[str]:
    table = read_folder(place, ["clip_id"]) if place.is_dir() else read_file(place, ["clip_id"])
    return frozenset(table["clip_id"].to_pylist())
