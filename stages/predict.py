"""Stage `predict`: candidates and pool through the trained heads, and the submission."""

from pathlib import Path

from mer_pipeline.cli.stage import progress_bar, stage
from mer_pipeline.training.predict import PredictPaths, predict

import typer


@stage
def main() -> str:
    """Predict every clip of test and pool; score where the truth is known. All settings come from data/fusion/."""
    paths = PredictPaths(
        features=Path("data/features"),
        manifest=Path("data/manifest.parquet"),
        truth=Path("data/truth.parquet"),
        fusion=Path("data/fusion"),
        predictions=Path("data/predictions.parquet"),
        submission=Path("data/submission.csv"),
        metrics=Path("metrics/predict.json"),
        plots=Path("plots"),
    )
    return predict(paths, progress_bar("predict"))


if __name__ == "__main__":
    typer.run(main)
