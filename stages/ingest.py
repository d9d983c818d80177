"""Stage `ingest`: read a dataset's folder, and write the manifest, transcripts, votes, true labels and folds."""

from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.datasets.ingest import IngestParams, ingest
from mer_pipeline.heads.make import check_heads
from mer_pipeline.models.lock import check_locked
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.progress import progress_bar

import typer


@stage
def main() -> str:
    """List the dataset's clips, check their files, and write the tables that all other stages start from."""
    params = load_params()
    check_locked(checkpoints(params))
    check_heads(params.train, params.heads_elsewhere, params.dataset.target)
    read = IngestParams(params.dataset, params.folds, params.shards, params.quality)
    return ingest(read, Project(), load_runtime(), progress_bar("ingest"))


if __name__ == "__main__":
    typer.run(main)
