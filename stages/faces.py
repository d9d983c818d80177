"""Stage `faces`: the people of each clip, and aligned crops of the primary one.

manifest (video), frames ─► tracks ─┬─► faces
                            audio ──┘
"""

from functools import partial

from mer_pipeline.config import steps
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step

import typer


@stage
def main() -> str:
    """Follow all faces of each clip, and choose the primary one."""
    params = load_params()
    check_locked(checkpoints_of(faces=params.faces))
    run = partial(run_step, project=Project(), shards=params.shards, quality=params.quality)
    return "\n".join([run(steps.tracks(params)), run(steps.faces(params))])


if __name__ == "__main__":
    typer.run(main)
