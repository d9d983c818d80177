"""Stage `report`: one page that shows what came out."""

from mer_pipeline.cli.stage import stage
from mer_pipeline.params import load_params
from mer_pipeline.report.build import build
from mer_pipeline.report.sources import ReportPaths

import typer


@stage
def main() -> str:
    """Write report/index.html."""
    params = load_params()
    return f"report: {build(ReportPaths(), params.dataset.classes)}"


if __name__ == "__main__":
    typer.run(main)
