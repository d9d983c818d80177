"""Stage `predict`: predict the candidates and the pool with the trained heads, and write the submission."""

from mer_pipeline.config.project import Project
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.training.predict import predict

import typer


@stage
def main() -> str:
    """Predict every clip of test and pool, and score clips with a true label. All settings come from trained heads."""
    return predict(Project(), progress_bar("predict"))


if __name__ == "__main__":
    typer.run(main)
