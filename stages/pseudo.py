"""Stage `pseudo`: give pseudo-labels to clips of the pool on which a head and corroborating families agree."""

from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.labels.pseudo_summary import nothing
from mer_pipeline.labels.pseudo_table import write_pseudo
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.tables.shards import forget_others

import typer


@stage
def main() -> str:
    """Label the pool in `pseudo.rounds` rounds, once with all clips and once without each fold. 0: an empty table."""
    params, project = load_params(), Project()
    forget_others(project.features, "embed", params.encoders, project.quarantine_folder)
    forget_others(project.votes, "vote", params.judges, project.quarantine_folder)
    if not params.pseudo.rounds:
        write_pseudo(project.pseudo, (), (), params.dataset.classes)
        nothing(params.pseudo, "pseudo.rounds is 0").write(project.metrics("pseudo"))
        return "pseudo: off"
    # Imported here, so that a stage that is off does not import torch.
    from mer_pipeline.training.head_cache import head_cache
    from mer_pipeline.training.pseudo import Others, pseudo
    from mer_pipeline.training.task import Task

    task = Task(params.dataset.classes, params.encoder_names, params.train)
    others = Others(params.judges, params.labels.join_dependent and not params.labels.independent)
    return pseudo(params.pseudo, task, others, project, head_cache(load_runtime()), progress_bar("pseudo"))


if __name__ == "__main__":
    typer.run(main)
