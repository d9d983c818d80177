"""Stage `predict`: predict the candidates and the pool with the trained heads, and write the submission."""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.training.predict import predict

import typer


@stage
def main() -> str:
    """Predict every clip of test and pool, and score clips with a true label."""
    params = load_params()
    return predict(params.predict, Project(), progress_bar("predict"))


if __name__ == "__main__":
    typer.run(main)
