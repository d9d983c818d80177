"""The layout of a project: the paths of all its files and folders. Other modules take these names from here.

    params.yaml  models.lock  prompts/  models/     written or provided by the user, as is .mer.toml for this machine
    data/  metrics/  plots/  report/                written by stages and kept by DVC
    .mer/                                           the records of this machine, which are never shared

`Project()` is the project in the current folder, where stages and `mer` run. If the root is a relative path, all paths
are relative, so that messages show `data/manifest.parquet` and not a path of this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Constants for code whose rows the store keeps. Such code uses these and not `Project`, so that a change of the layout
# does not change the code's fingerprint.
DATA = Path("data")
PROMPTS = Path("prompts")
MODELS = Path("models")

# Files in the folder of a trained head.
CONFIG = "config.json"
OUT_OF_FOLD = "out_of_fold.parquet"

# Tables that are one file; every other table is a folder of shards.
SINGLE = frozenset(
    {"manifest", "clips", "truth", "folds", "votes/given", "cue_words", "labels", "pseudo", "predictions"}
)
# Names of folders below data/ that stages write; files that a user provides must have other names.
WRITTEN = frozenset(
    {
        *("frames", "tracks", "faces", "audio", "subtitles", "heard"),
        *("transcript", "cues", "prompts", "replies", "enriched"),
        *("features", "votes", "fusion", "quarantine"),
    }
)


@dataclass(frozen=True)
class Project:
    """The paths of the files and folders of the project in the folder `root`. Nothing is opened.

    Example:
        >>> Project().manifest.as_posix()
        'data/manifest.parquet'
        >>> Project(Path("/p")).table("features/voice").as_posix()
        '/p/data/features/voice'
    """

    root: Path = Path()

    def name_of(self, path: Path) -> str:
        """Return a path as users write it, relative to the root and with "/" between its parts."""
        return path.relative_to(self.root).as_posix()

    @property
    def params(self) -> Path:
        """The file with the parameters of all stages."""
        return self.root / "params.yaml"

    @property
    def lock(self) -> Path:
        """The file with the checksums of the checkpoints that params.yaml names."""
        return self.root / "models.lock"

    @property
    def settings(self) -> Path:
        """The file with the settings of this machine: workers, device, store."""
        return self.root / ".mer.toml"

    @property
    def data(self) -> Path:
        """The folder of all tables."""
        return self.root / DATA

    def table(self, name: str) -> Path:
        """Return the path of a table: a folder of shards or a Parquet file.

        Args:
            name: the table's path below data/, such as "frames", "features/voice" (folders) or "manifest" (a file).
        """
        single = name in SINGLE or name.startswith("quarantine/")
        return self.data / (f"{name}.parquet" if single else name)

    @property
    def manifest(self) -> Path:
        """The manifest, a table with one row per clip."""
        return self.table("manifest")

    @property
    def clips(self) -> Path:
        """The table of the clips' names alone, which does not change when a label changes."""
        return self.table("clips")

    @property
    def truth(self) -> Path:
        """The table of true labels, for evaluation only."""
        return self.table("truth")

    @property
    def folds(self) -> Path:
        """The table with the fold of each labelled training clip."""
        return self.table("folds")

    @property
    def features(self) -> Path:
        """The folder with one table per encoder."""
        return self.table("features")

    @property
    def votes(self) -> Path:
        """The folder with one table per judge, and `given.parquet`."""
        return self.table("votes")

    @property
    def given(self) -> Path:
        """The table of the votes that came with the dataset."""
        return self.table("votes/given")

    @property
    def labels(self) -> Path:
        """The table of refined labels."""
        return self.table("labels")

    @property
    def pseudo(self) -> Path:
        """The table of pseudo-labels."""
        return self.table("pseudo")

    @property
    def fusion(self) -> Path:
        """The folder of the trained heads."""
        return self.table("fusion")

    @property
    def out_of_fold(self) -> Path:
        """The table of the trained heads' out-of-fold predictions."""
        return self.fusion / OUT_OF_FOLD

    @property
    def predictions(self) -> Path:
        """The table of the selected head's predictions for test and pool clips."""
        return self.table("predictions")

    @property
    def submission(self) -> Path:
        """The predictions for the test clips, in the CSV format of the challenge."""
        return self.data / "submission.csv"

    def quarantine(self, step: str) -> Path:
        """Return the path of the quarantine of a step, such as "frames" or "embed-voice"."""
        return self.table(f"quarantine/{step}")

    @property
    def quarantine_folder(self) -> Path:
        """The folder of all quarantine tables."""
        return self.table("quarantine")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders in which stages make tables and figures."""
        return (self.data, self.features, self.votes, self.quarantine_folder, self.metrics_folder)

    def metrics(self, stage: str) -> Path:
        """Return the path of a stage's metric file (JSON)."""
        return self.metrics_folder / f"{stage}.json"

    @property
    def metrics_folder(self) -> Path:
        """The folder of all metric files."""
        return self.root / "metrics"

    def plots(self, name: str) -> Path:
        """Return the path of a table that DVC plots (CSV)."""
        return self.root / "plots" / f"{name}.csv"

    @property
    def report(self) -> Path:
        """The HTML page that reports the results."""
        return self.root / "report" / "index.html"

    @property
    def state(self) -> Path:
        """The folder of this machine's records, such as logs and the default store."""
        return self.root / ".mer"

    @property
    def people(self) -> Path:
        """The HTML page that shows who is seen in clips. It is no output of a stage, so it is not in `report`."""
        return self.state / "people.html"

    @property
    def logs(self) -> Path:
        """The folder of the stages' log files."""
        return self.state / "logs"

    @property
    def runs(self) -> Path:
        """The folder with a summary of the last run of each step."""
        return self.state / "runs"
