"""A team shares the store and DVC's cache: other Unix users, an S3 server, places that are read-only or full.

The set-up is that of docs/sharing.md: its blocks are run as they stand, with folders, group and addresses put in.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.team import ADDED, FIRST, GROUP, ROOT, Clone, User, clone, commands, git, make_origin, python_for_all

PAGE = ROOT / "docs/sharing.md"
EIGHT = (*FIRST, *ADDED)
ANNA, BEN = User("anna", 12001, umask=0o077), User("ben", 12002, umask=0o077)

pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become other users or mount a file system")


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="mer-team-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def origin(base: Path) -> Path:
    return make_origin(base / "origin")


@pytest.fixture(scope="module")
def ingested(base: Path, origin: Path) -> Mapping[int, Path]:
    """What `ingest` makes of six and of eight clips."""
    workers = {len(names): clone(origin, base / f"ingested{len(names)}") for names in (FIRST, EIGHT)}
    workers[8].put_clips(EIGHT)
    for process in [worker.start("python", "stages/ingest.py") for worker in workers.values()]:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return {count: worker.path / "data" for count, worker in workers.items()}


@pytest.fixture
def work(
    base: Path, origin: Path, ingested: Mapping[int, Path], request: pytest.FixtureRequest
) -> Callable[..., Clone]:
    """Makes a clone in which `ingest` has run; its store is at `store`."""
    count = 0

    def make(store: Path | str, clips: int = 6, like: Clone | None = None) -> Clone:
        nonlocal count
        count += 1
        like = like or Clone(base)
        made = clone(origin, base / f"{request.node.name}-{count}", like.user, like.python, like.env)
        see(made, ingested[clips])
        return replace(made, env={**made.env, "MER_STORE": str(store)})

    return make


@pytest.fixture(scope="module")
def other(base: Path) -> Clone:
    """Settings of a clone of somebody else than the one who runs the tests."""
    python = python_for_all(base / "python")
    (base / "other").mkdir()
    somebody = Clone(base / "other", BEN, python)
    if (done := somebody.run("python", "-c", "import dvc.cli, pyarrow")).returncode:
        pytest.skip(f"the installed packages cannot be read by another user: {done.stderr[-200:]}")
    return somebody


def see(worker: Clone, data: Path) -> None:
    """The clone has the tables of this `data` folder."""
    for name in ("demo", "manifest.parquet", "subtitles"):
        target = worker.path / "data" / name
        if target.is_dir():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)  # it may be a link into DVC's cache
        (shutil.copytree if (data / name).is_dir() else shutil.copy)(data / name, target)
        worker.own(f"data/{name}")


def tree(folder: Path) -> dict[str, int]:
    """All files below a folder and when they were written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def assert_sound(store: Path) -> None:
    """Every pack hashes to its name, and nothing half written lies about."""
    files = [path for path in store.rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.endswith(".tmp")]
    packs = [path for path in files if path.suffix == ".parquet"]
    for path in packs:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.split(".")[0]


def one_sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The message of a stage that ended with an error; nothing else was printed to stderr."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def ran(printed: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", printed)


class TestDirectory:
    """Two users whose umask lets nobody else read, and one directory."""

    @needs_root
    def test_two_users(self, base: Path, origin: Path, ingested: Mapping[int, Path], other: Clone) -> None:
        """Each takes from the store and from DVC's cache what the other computed, and adds to it."""
        shared = base / "shared"

        def put_in(text: str) -> str:
            return text.replace("/srv/mer", str(shared)).replace(" team ", f" {GROUP} ")

        Clone(base).ok("sh", "-ec", put_in(commands(PAGE, "A shared directory")))
        anna, ben = (clone(origin, base / user.name, user, other.python) for user in (ANNA, BEN))
        printed = []
        for worker in (anna, ben):
            worker.write(".mer.toml", put_in(commands(PAGE, "In each clone", "toml")))
            printed.append(ran(worker.shell(put_in(commands(PAGE, "In each clone")))))
        assert sorted(printed[0]) == ["audio", "frames", "ingest"]
        assert anna.counts("frames") == anna.counts("audio") == (6, 0)
        assert printed[1] == [], "all outputs are in DVC's shared cache"

        assert ben.stage("frames").returncode == ben.stage("audio").returncode == 0
        assert ben.counts("frames") == ben.counts("audio") == (0, 6)
        ben.put_clips(EIGHT)
        assert sorted(ran(ben.shell("dvc repro"))) == ["audio", "frames", "ingest"]
        assert ben.counts("frames") == ben.counts("audio") == (2, 6)

        see(anna, ingested[8])
        assert anna.stage("frames").returncode == anna.stage("audio").returncode == 0
        assert anna.counts("frames") == anna.counts("audio") == (0, 8)
        assert_sound(shared / "store")
        assert {path.stat().st_uid for path in (shared / "store").rglob("*.parquet")} == {ANNA.uid, BEN.uid}
        assert not (shared / "store/aside").exists()


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server in this process, and the environment that leads there."""

    env: Mapping[str, str]
    fs: object

    def paths(self, prefix: str) -> list[str]:
        return sorted(self.fs.find(prefix))  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": host,
    }
    fs = S3FileSystem(
        endpoint_url=env["AWS_ENDPOINT_URL"], key="me", secret="secret", use_listings_cache=False,
        client_kwargs={"region_name": "us-east-1"},
    )  # fmt: skip
    fs.call_s3("create_bucket", Bucket="our-bucket")
    yield Bucket(env, fs)
    server.stop()


class TestObjectStorage:
    """A server that speaks S3, for the store and as a DVC remote."""

    def test_push_pull_and_a_warm_store(
        self, base: Path, origin: Path, ingested: Mapping[int, Path], bucket: Bucket
    ) -> None:
        """After `dvc pull` nothing runs; without it everything runs and nothing is computed; then only what is new."""
        setup = commands(PAGE, "Object storage").replace("https://s3.example.org", bucket.env["AWS_ENDPOINT_URL"])
        first = clone(origin, base / "s3-first", env={"NO_PROXY": bucket.env["NO_PROXY"]})
        printed = first.shell(setup)
        assert sorted(ran(printed)) == ["audio", "frames", "ingest"]
        assert first.counts("frames") == (6, 0)
        git(first.path, "add", "dvc.lock", "metrics", ".dvc/config", "data")
        git(first.path, "commit", "-q", "-m", "Results")
        assert b"me" not in b"".join((first.path / name).read_bytes() for name in ("dvc.lock", ".dvc/config")).split()

        env = {**bucket.env, "MER_STORE": "s3://our-bucket/mer"}
        puller = clone(first.path, base / "s3-puller", env=env)
        assert ran(puller.shell(commands(PAGE, "A colleague's clone"))) == []
        assert (puller.path / "data/frames").is_dir()

        third = clone(first.path, base / "s3-third", env=env)
        assert sorted(ran(third.shell("dvc repro"))) == ["audio", "frames", "ingest"]
        assert third.counts("frames") == third.counts("audio") == (0, 6)
        see(third, ingested[8])
        assert third.stage("frames").returncode == 0
        assert third.counts("frames") == (2, 6)
        printed = third.shell(commands(PAGE, "Making space"))
        assert "s3://our-bucket/mer" in printed
        assert "would remove 0 fingerprints" in printed

    def test_a_damaged_object(self, work: Callable[..., Clone], bucket: Bucket) -> None:
        """One cut off and one with another byte are noticed, set aside and computed again; `verify` finds others."""
        url = "our-bucket/damaged"
        worker = work(f"s3://{url}", like=Clone(ROOT, env=bucket.env))
        assert worker.stage("frames").returncode == 0
        packs = [path for path in bucket.paths(url) if path.endswith(".parquet")]
        before = (worker.path / "data/frames/part-00000.parquet").read_bytes()
        short, flipped = (bytearray(bucket.fs.cat_file(path)) for path in packs[:2])  # type: ignore[attr-defined]
        flipped[len(flipped) // 3] ^= 1
        bucket.fs.pipe({packs[0]: bytes(short[:-100]), packs[1]: bytes(flipped)})  # type: ignore[attr-defined]
        done = worker.stage("frames")
        assert done.returncode == 0, done.stderr
        computed, reused = worker.counts("frames")
        assert computed > 0
        assert computed + reused == 6
        assert "2 damaged packs set aside" in done.stdout
        aside = {path.rpartition("/")[2] for path in bucket.paths(f"{url}/aside")}
        assert aside == {path.rpartition("/")[2] for path in packs[:2]}
        assert (worker.path / "data/frames/part-00000.parquet").read_bytes() == before
        bucket.fs.pipe(packs[2], b"nonsense")  # type: ignore[attr-defined]
        script = commands(PAGE, "When something is wrong")
        checked = worker.run("sh", "-c", f'mer() {{ python -m mer_pipeline.cli.main "$@"; }}\n{script}')
        assert (checked.returncode, checked.stdout.count("set aside")) == (1, 1), checked.stderr

    def test_two_writers(self, work: Callable[..., Clone], bucket: Bucket) -> None:
        """Two processes at the same time: neither fails, and all rows are there."""
        url = "s3://our-bucket/both"
        workers = [work(url, clips, Clone(ROOT, env=bucket.env)) for clips in (6, 8)]
        for worker in workers:
            worker.write(".mer.toml", "[store]\nflush_s = 0.01\n")
        for process in [worker.start("python", "stages/frames.py") for worker in workers]:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
        assert workers[1].stage("frames").returncode == 0
        assert workers[1].counts("frames") == (0, 8)

    def test_no_bucket(self, work: Callable[..., Clone], bucket: Bucket) -> None:
        """One sentence, before anything is computed."""
        done = work("s3://no-such-bucket/mer", like=Clone(ROOT, env=bucket.env)).stage("frames")
        assert "make the bucket first" in one_sentence(done, 1)

    @pytest.mark.outcome("the server does not answer, a pack may not be read", "one sentence, exit code 1")
    def test_no_server(self, work: Callable[..., Clone], bucket: Bucket) -> None:
        """A server that does not answer is one sentence, too."""
        env = {**bucket.env, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
        done = work("s3://our-bucket/mer", like=Clone(ROOT, env=env)).stage("frames")
        assert "store s3://our-bucket/mer" in one_sentence(done, 1)


class TestReadOnly:
    """A store that may be read."""

    @pytest.mark.outcome(
        "the store is read-only",
        "known rows are used; where some must be computed, one sentence before any work",
    )
    @needs_root
    def test_of_somebody_else(
        self, base: Path, work: Callable[..., Clone], ingested: Mapping[int, Path], other: Clone
    ) -> None:
        """It serves what it has. What it lacks is one sentence; `--no-store` computes."""
        store = base / "of-root"
        assert work(store).stage("frames").returncode == 0
        ben = work(store, like=other)
        assert ben.stage("frames").returncode == 0
        assert ben.counts("frames") == (0, 6)

        see(ben, ingested[8])
        before, kept = tree(ben.path / "data"), tree(store)
        assert "2 clips are to be computed" in one_sentence(ben.stage("frames"), 1)
        assert (tree(ben.path / "data"), tree(store)) == (before, kept)

        assert ben.stage("frames", "--no-store").returncode == 0
        assert ben.counts("frames") == (8, 0)
        assert tree(store) == kept

    @pytest.mark.outcome(
        "the server does not answer, a pack may not be read",
        "one sentence, exit code 1; nothing is set aside",
    )
    @needs_root
    def test_packs_that_may_not_be_read(self, base: Path, work: Callable[..., Clone], other: Clone) -> None:
        """They are sound: in a folder where they could be moved, they stay, and the run ends with one sentence."""
        store = base / "unreadable"
        assert work(store).stage("frames").returncode == 0
        for path in store.rglob("*"):
            path.chmod(0o777 if path.is_dir() else 0o600)
        kept = tree(store)
        assert "no permission" in one_sentence(work(store, like=other).stage("frames"), 1)
        assert tree(store) == kept

    @pytest.mark.outcome(
        "the store is read-only",
        "known rows are used; where some must be computed, one sentence before any work",
    )
    @needs_root
    def test_file_system(self, base: Path, work: Callable[..., Clone], ingested: Mapping[int, Path]) -> None:
        """A mount that is read-only is the same."""
        with mounted(base / "ro", "64m") as store:
            assert work(store).stage("frames").returncode == 0
            mount("-o", "remount,ro", str(store))
            worker = work(store)
            assert worker.stage("frames").returncode == 0
            assert worker.counts("frames") == (0, 6)
            see(worker, ingested[8])
            assert "2 clips are to be computed" in one_sentence(worker.stage("frames"), 1)


class TestFull:
    """A disk without space."""

    @pytest.mark.outcome(
        "the disk is full",
        "one sentence, exit code 1; what was finished is kept, make space and run again",
    )
    @needs_root
    def test_store(self, base: Path, work: Callable[..., Clone]) -> None:
        """One sentence and no torn pack; with space, the same command goes on from what was kept."""
        with mounted(base / "full", "400k") as store:
            worker = work(store, 8)
            worker.write(".mer.toml", "workers = 1\nbatch = 1\n[store]\nflush_s = 0.001\n")
            assert "no space is left in the store" in one_sentence(worker.stage("frames"), 1)
            assert not (worker.path / "data/frames").exists()
            assert_sound(store)
            mount("-o", "remount,size=64m", str(store))
            assert worker.stage("frames").returncode == 0
            computed, reused = worker.counts("frames")
            assert reused > 0
            assert computed + reused == 8

    @pytest.mark.outcome(
        "the disk is full",
        "one sentence, exit code 1; what was finished is kept, make space and run again",
    )
    @needs_root
    def test_data(self, base: Path, work: Callable[..., Clone]) -> None:
        """The same for the stage's own folder: what was computed is in the store."""
        worker = work(base / "roomy", 8)
        with mounted(worker.path / "data", "600k", keep=True) as data:
            before = tree(data)
            assert "no space is left on the disk of" in one_sentence(worker.stage("frames"), 1)
            assert tree(data) == before
            assert_sound(base / "roomy")
            mount("-o", "remount,size=64m", str(data))
            assert worker.stage("frames").returncode == 0
            assert worker.counts("frames") == (0, 8)
            assert len(list(data.glob("frames/part-*.parquet"))) == 4


class TestWhere:
    """Which store is used."""

    def test_environment_comes_first(self, base: Path, work: Callable[..., Clone]) -> None:
        """$MER_STORE before .mer.toml; "none" is none at all."""
        worker = work(base / "chosen")
        worker.write(".mer.toml", '[store]\nurl = "in-the-toml"\n')
        assert worker.stage("frames").returncode == 0
        assert list((base / "chosen").rglob("*.parquet"))
        worker = replace(worker, env={**worker.env, "MER_STORE": "none"})
        assert worker.stage("frames").returncode == 0
        assert worker.counts("frames") == (6, 0)
        assert not (worker.path / "in-the-toml").exists()
        worker = replace(worker, env={**worker.env, "MER_STORE": ""})
        assert worker.stage("frames").returncode == 0
        assert list((worker.path / "in-the-toml").rglob("*.parquet"))

    def test_unknown_protocol(self, work: Callable[..., Clone]) -> None:
        """A mistake of a person: exit code 2."""
        assert "nosuch" in one_sentence(work("nosuch://place/mer").stage("frames"), 2)

    def test_not_a_folder(self, base: Path, work: Callable[..., Clone]) -> None:
        """A file where the store should be is one sentence."""
        (base / "a-file").write_text("not a folder")
        assert "a-file" in one_sentence(work(base / "a-file").stage("frames"), 1)


# Headings whose commands need a cluster's own software; what they call is tested there.
ELSEWHERE = {"Many machines at once": "cli/test_compute.py", "On a Ray cluster": "engines/test_ray.py"}


def test_every_command_of_the_page_is_run_here() -> None:
    """Each heading of docs/sharing.md that has commands is asked for by a test above, or by one that is named."""
    assert all((Path(__file__).parent / place).is_file() for place in ELSEWHERE.values())
    text = PAGE.read_text(encoding="utf-8")
    headings = [part.splitlines()[0] for part in text.split("\n## ")[1:] if "```" in part]
    asked = set(re.findall(r'commands\(PAGE, "([^"]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert set(headings) == asked | ELSEWHERE.keys()


class mounted:  # noqa: N801
    """A file system in memory of a size; with `keep`, it starts with the files that were in its place."""

    def __init__(self, at: Path, size: str, *, keep: bool = False) -> None:
        self.at, self.size, self.keep = at, size, keep

    def __enter__(self) -> Path:
        self.at.mkdir(parents=True, exist_ok=True)
        files = {path: path.read_bytes() for path in self.at.rglob("*") if path.is_file()} if self.keep else {}
        mount("-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", str(self.at))
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return self.at

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.at)], check=True)


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
