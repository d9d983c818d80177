"""Stage `report`: write one HTML page with all results."""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.report.build import build
from mer_pipeline.stage.main import stage

import typer


@stage
def main() -> str:
    """Write the report from the tables and metric files."""
    params = load_params()
    return f"report: {build(Project(), params.dataset.classes)}"


if __name__ == "__main__":
    typer.run(main)
