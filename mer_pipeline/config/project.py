"""The layout of a project: where each of its files and folders lies. No other module spells these names.

    params.yaml  models.lock  prompts/  models/     what a person writes or brings; .mer.toml is of this machine
    data/  metrics/  plots/  report/                what stages write, and DVC keeps
    .mer/                                           what this machine remembers; it is never shared

`Project()` is the current folder, where stages and `mer` run. A path is relative where the root is, so that messages
show `data/manifest.parquet` and not a path of this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# For code whose result is kept by the store: it reaches these names alone, and no change of the layout makes its rows
# new.
DATA = Path("data")
PROMPTS = Path("prompts")
MODELS = Path("models")

# Inside of the folder of trained heads.
CONFIG = "config.json"
OUT_OF_FOLD = "out_of_fold.parquet"

# Tables of one file; every other is a folder of shards.
SINGLE = frozenset(
    {"manifest", "clips", "truth", "folds", "votes/given", "cue_words", "labels", "pseudo", "predictions"}
)
# Names below data/ that stages write; what a person brings has another.
WRITTEN = frozenset(
    {
        *("frames", "faces", "audio", "transcript", "cues", "prompts", "replies", "enriched"),
        *("features", "votes", "fusion", "quarantine"),
    }
)


@dataclass(frozen=True)
class Project:
    """The files and folders of the project in the folder `root`; nothing is opened.

    Example:
        >>> Project().manifest.as_posix()
        'data/manifest.parquet'
        >>> Project(Path("/p")).table("features/voice").as_posix()
        '/p/data/features/voice'
    """

    root: Path = Path()

    def name_of(self, path: Path) -> str:
        """A path of the project as people write it, from its root."""
        return path.relative_to(self.root).as_posix()

    @property
    def params(self) -> Path:
        """The parameters of all stages."""
        return self.root / "params.yaml"

    @property
    def lock(self) -> Path:
        """The checksums of the checkpoints that params.yaml names."""
        return self.root / "models.lock"

    @property
    def settings(self) -> Path:
        """What belongs to this machine: workers, device, store."""
        return self.root / ".mer.toml"

    @property
    def data(self) -> Path:
        """The folder of all tables."""
        return self.root / DATA

    def table(self, name: str) -> Path:
        """A table by its path below data/: a folder of shards ("frames", "features/voice") or a file ("manifest")."""
        single = name in SINGLE or name.startswith("quarantine/")
        return self.data / (f"{name}.parquet" if single else name)

    @property
    def manifest(self) -> Path:
        """A row per clip."""
        return self.table("manifest")

    @property
    def clips(self) -> Path:
        """The clips' names alone, which no label moves."""
        return self.table("clips")

    @property
    def truth(self) -> Path:
        """True labels, for evaluation only."""
        return self.table("truth")

    @property
    def folds(self) -> Path:
        """The fold of each labelled training clip."""
        return self.table("folds")

    @property
    def features(self) -> Path:
        """The folder that has a table per encoder."""
        return self.table("features")

    @property
    def votes(self) -> Path:
        """The folder that has a table per judge, and `given.parquet`."""
        return self.table("votes")

    @property
    def given(self) -> Path:
        """The votes that the dataset itself brings."""
        return self.table("votes/given")

    @property
    def labels(self) -> Path:
        """Refined labels."""
        return self.table("labels")

    @property
    def pseudo(self) -> Path:
        """Labels of clips that nobody labelled."""
        return self.table("pseudo")

    @property
    def fusion(self) -> Path:
        """The folder of the trained heads."""
        return self.table("fusion")

    @property
    def out_of_fold(self) -> Path:
        """What the trained heads say of clips that they have not learnt from."""
        return self.fusion / OUT_OF_FOLD

    @property
    def predictions(self) -> Path:
        """What the selected head says of test and pool clips."""
        return self.table("predictions")

    @property
    def submission(self) -> Path:
        """The predictions of the test clips as the challenge wants them."""
        return self.data / "submission.csv"

    def quarantine(self, step: str) -> Path:
        """The clips that a step, such as "frames" or "embed-voice", could not do."""
        return self.table(f"quarantine/{step}")

    @property
    def quarantine_folder(self) -> Path:
        """The folder of all of these."""
        return self.table("quarantine")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders in which stages make tables and figures."""
        return (self.data, self.features, self.votes, self.quarantine_folder, self.metrics_folder)

    def metrics(self, stage: str) -> Path:
        """The figures of a stage, JSON."""
        return self.metrics_folder / f"{stage}.json"

    @property
    def metrics_folder(self) -> Path:
        """The folder of all of these."""
        return self.root / "metrics"

    def plots(self, name: str) -> Path:
        """A table that DVC plots, CSV."""
        return self.root / "plots" / f"{name}.csv"

    @property
    def report(self) -> Path:
        """The page that shows what came out."""
        return self.root / "report" / "index.html"

    @property
    def state(self) -> Path:
        """The folder of what this machine remembers."""
        return self.root / ".mer"

    @property
    def logs(self) -> Path:
        """The folder of the stages' messages."""
        return self.state / "logs"

    @property
    def runs(self) -> Path:
        """The folder of what the last run of each step did."""
        return self.state / "runs"
