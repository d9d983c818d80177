"""A team for tests: clones of a small project, other Unix users, a bucket on this machine."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

from tests.forks import tools

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "data/demo"
GROUP = 12000  # without an account, as is each user

FIRST = ("s01_0001", "s01_0002", "s01_0003", "s02_0002", "s09_0002", "s09_0003")
ADDED = ("s02_0003", "s09_0004")
STAGES = ("ingest", "frames", "audio")


@dataclass(frozen=True)
class User:
    """Who runs a command; `uid` None for whoever runs the tests."""

    name: str = "tester"
    uid: int | None = None
    umask: int = 0o022


@dataclass(frozen=True)
class Python:
    """An interpreter and the packages of this one, for users who may not read the folder that this one is in."""

    bin: Path
    env: Mapping[str, str] = field(default_factory=dict)


HERE = Python(Path(sys.executable).parent)


@dataclass(frozen=True)
class Clone:
    """A working tree of the project, its owner, and the environment of its commands."""

    path: Path
    user: User = User()
    python: Python = HERE
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the clone as its owner."""
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MER_", "AWS_", "GIT_"))},
            "PATH": os.pathsep.join([*self._tools(), str(self.python.bin), os.environ["PATH"]]),
            "DVC_NO_ANALYTICS": "1",
            "HOME": str(self.path.parent),
            "USER": self.user.name,
            **self.python.env,
            **self.env,
        }
        env["PYTHONPATH"] = os.pathsep.join([str(self.path), *env.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(":")
        switch = {} if self.user.uid is None else {"user": self.user.uid, "group": GROUP, "extra_groups": [GROUP]}
        return subprocess.Popen(
            words, cwd=self.path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            umask=self.user.umask, **switch,
        )  # fmt: skip

    def _tools(self) -> list[str]:
        """A fork cannot become another user."""
        return [str(tools())] if self.user.uid is None and self.python is HERE else []

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command; it may fail."""
        process = self.start(*words)
        out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def ok(self, *words: str) -> str:
        """Run a command that has to end well; what it printed."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def stage(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a stage's script, as DVC would."""
        return self.run("python", f"stages/{name}.py", *words)

    def shell(self, script: str) -> str:
        """Run the commands of a page; `dvc` and `mer` are those of the clone's interpreter."""
        tools = 'dvc() { python -m dvc "$@"; }; mer() { python -m mer_pipeline.cli.main "$@"; }; set -e\n'
        return self.ok("sh", "-c", tools + script)

    def counts(self, stage: str) -> tuple[int, int]:
        """Rows computed and re-used by the last run of a stage."""
        summary = self.summary(stage)
        return summary["computed"], summary["reused"]

    def summary(self, stage: str) -> dict[str, int]:
        """`.mer/runs/<stage>.json`."""
        found = json.loads((self.path / f".mer/runs/{stage}.json").read_text())
        assert isinstance(found, dict)
        return found

    def write(self, name: str, text: str) -> None:
        """Write a file that belongs to the clone's owner."""
        path = self.path / name
        path.write_text(text)
        if self.user.uid is not None:
            os.chown(path, self.user.uid, GROUP)

    def put_clips(self, names: Iterable[str]) -> None:
        """The split has these clips of the demo, and no others."""
        put_clips(self.path / "data/demo", names)
        self.own("data/demo")

    def own(self, name: str = "") -> None:
        """The clone, or a part of it, belongs to its owner."""
        if self.user.uid is not None:
            for path in (self.path / name, *(self.path / name).rglob("*")):
                os.chown(path, self.user.uid, GROUP, follow_symlinks=False)


def put_clips(folder: Path, names: Iterable[str]) -> None:
    """A split of the demo's clips of these names."""
    kept = set(names)
    (folder / "video").mkdir(parents=True, exist_ok=True)
    for name in kept:
        shutil.copy(DEMO / f"video/{name}.mp4", folder / "video")
    for path in DEMO.glob("*.csv"):
        rows = list(csv.DictReader(path.open(encoding="utf-8")))
        with (folder / path.name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(row for row in rows if row["name"] in kept)


def make_origin(folder: Path) -> Path:
    """A repository with the project's files, a split of six clips, and the first stages."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        if name.startswith(
            ("mer_pipeline/", "stages/", "components/", ".dvc", "params.yaml", "dvc.yaml", "data/.git", ".git")
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    put_clips(folder / "data/demo", FIRST)
    yaml = YAML()
    pipeline = yaml.load(folder / "dvc.yaml")
    pipeline["stages"] = {name: pipeline["stages"][name] for name in STAGES}
    yaml.dump(pipeline, folder / "dvc.yaml")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "A small split"]):
        git(folder, *words)
    return folder


def git(folder: Path, *words: str) -> None:
    """Run git as a nobody in particular."""
    config = ["-c", "user.name=tester", "-c", "user.email=tester@example.org", "-c", "safe.directory=*"]
    done = subprocess.run(["git", *config, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def clone(
    origin: Path, path: Path, user: User | None = None, python: Python = HERE, env: Mapping[str, str] | None = None
) -> Clone:
    """A clone that belongs to a user, in a home of its own."""
    home = path / "home"
    home.mkdir(parents=True)
    git(path, "clone", "-q", "--no-hardlinks", str(origin), str(home / "project"))
    made = Clone(
        home / "project", user or User(), python, {"DVC_SITE_CACHE_DIR": str(home / "dvc-site"), **(env or {})}
    )
    if made.user.uid is not None:
        os.chown(home, made.user.uid, GROUP)
        made.own()
    return made


def python_for_all(folder: Path) -> Python:
    """This interpreter where everybody may read it, else a copy of its own files with the packages of this one."""
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in Path(sys.executable).resolve().parents):
        return HERE
    base, short = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(
        base / "lib", folder / "lib", symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "test", "idlelib", "ensurepip", "config-*", "*.a"),
    )  # fmt: skip
    (folder / "bin").mkdir()
    shutil.copy(base / "bin" / short, folder / "bin/python")
    packages = sysconfig.get_paths()["purelib"]
    return Python(folder / "bin", {"PYTHONPATH": packages, "LD_LIBRARY_PATH": str(folder / "lib")})


def commands(page: Path, heading: str, kind: str = "sh") -> str:
    """The block of shell commands (or of another kind) under a heading of a page."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.M | re.S)
    assert section is not None, heading
    blocks = re.findall(rf"```{kind}\n(.*?)```", section.group(1), re.S)
    assert len(blocks) == 1, (heading, blocks)
    return str(blocks[0])
