"""`mer models fetch` through the real client, against a hub on this machine that speaks the protocol."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from mer_pipeline.base.atomic import TEMPORARY
from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.errors import CheckpointError, DownloadError, UsageError
from mer_pipeline.cli.fetch import fetch, fetch_from, fetch_to, plan_text
from mer_pipeline.cli.language import LANGUAGES, set_language
from mer_pipeline.cli.profiles import plain, read_profile
from mer_pipeline.config.params import Params, parse_params
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.judges.judge import make_judge
from mer_pipeline.models import hub as hub_module
from mer_pipeline.models.checkpoint import folder_of
from mer_pipeline.models.fetch import STATE, alone, make_all, plan_all
from mer_pipeline.models.hub import Hub, is_stated
from mer_pipeline.models.lock import LOCK, check_locked, lock_models
from mer_pipeline.models.origin import NAME, read_origin
from mer_pipeline.models.wanted import RemoteFile
from tests.conftest import clip, face_row, pictures, sound_row, valid
from tests.models.hub import TIMM, LocalHub, Repo, miniatures, repo, saved, serving

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = save({"w": np.arange(20_000, dtype=np.float32)}, {"format": "pt"})
SMALL = {"config.json": b'{"model_type": "bert"}', "model.safetensors": WEIGHTS, "vocab.txt": b"a\nb\n", "x.h5": b"x"}
SPEC = "hf:org/name"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub with one small repository; the current folder is a project's."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with serving(LocalHub({"org/name": repo(SMALL)})) as served:
        yield served


def got(hub: LocalHub, *specs: str, **options: Any) -> str:
    """Fetch checkpoints under the names x0, x1, ..."""
    return fetch({f"x{at}": spec for at, spec in enumerate(specs or (SPEC,))}, client(hub), **options)


def client(hub: LocalHub) -> Hub:
    return Hub(hub.url, f"{hub.url}/release")


def files_of(spec: str = SPEC) -> set[str]:
    return {path.name for path in folder_of(spec).iterdir()}


def locked() -> Mapping[str, Any]:
    entries: dict[str, Any] = json.loads(LOCK.read_text())
    return entries


class TestWhatIsFetched:
    def test_only_what_is_needed_with_its_origin(self, hub: LocalHub) -> None:
        """Files of other libraries stay on the hub; models.lock has commit, licence and hashes."""
        got(hub)
        assert files_of() == {"config.json", "model.safetensors", "vocab.txt", NAME}
        assert "x.h5" not in hub.got()
        entry = locked()["x0"]
        assert entry["origin"]["commit"] == "c" * 40
        assert entry["origin"]["licence"] == "mit"
        assert entry["files"] == entry["origin"]["downloaded"]
        check_locked({"x0": SPEC})
        assert not (Path("models") / STATE).exists()

    def test_a_dry_run_says_all_and_does_nothing(self, hub: LocalHub, capsys: pytest.CaptureFixture[str]) -> None:
        """Size, licence, access, conversions, and who wants it; no file is asked for."""
        hub.repos["org/old"] = repo({**SMALL, "pytorch_model.bin": b"1234"}, licence=None)
        del hub.repos["org/old"].commits["c" * 40]["model.safetensors"]
        got(hub, SPEC, "hf:org/old@main", dry_run=True)
        said = capsys.readouterr().out
        assert "missing   hf:org/name, for x0" in said
        assert "org/name at cccccccccccc: 80 kB in 3 files of 4, licence mit, open to all" in said
        assert "no licence stated" in said
        assert "pytorch_model.bin is pickled, and is converted to model.safetensors" in said
        assert not hub.got()
        assert not Path("models").exists()
        assert not LOCK.exists()

    def test_what_is_there_is_not_asked_for(self, hub: LocalHub) -> None:
        """The second run needs no network at all."""
        got(hub)
        lock = LOCK.read_bytes()
        with serving(LocalHub()) as empty:
            got(empty)
            assert not empty.got()
        assert LOCK.read_bytes() == lock

    def test_a_damaged_folder_is_fetched_anew(self, hub: LocalHub) -> None:
        """By the hashes of its record."""
        got(hub)
        path = folder_of(SPEC) / "model.safetensors"
        path.write_bytes(WEIGHTS[:-1] + b"\1")
        got(hub)
        assert path.read_bytes() == WEIGHTS

    def test_a_folder_of_ones_own_is_left_alone(self, hub: LocalHub) -> None:
        """If it can be used it counts as there; a folder of pickles must be moved away by its owner."""
        own = folder_of(SPEC)
        own.mkdir(parents=True)
        (own / "pytorch_model.bin").write_bytes(b"pickle")
        with pytest.raises(CheckpointError, match="move the folder away and run `mer models fetch`"):
            got(hub)
        (own / "model.safetensors").write_bytes(WEIGHTS)
        got(hub)
        assert files_of() == {"model.safetensors", "pytorch_model.bin"}
        assert not hub.got()

    def test_shards_are_taken_whole(self, hub: LocalHub) -> None:
        """Shards without their index, or too few of them, are no weights."""
        shards = {f"model-0000{n}-of-00002.safetensors": save({f"w{n}": np.zeros(n)}) for n in (1, 2)}
        index = {"model.safetensors.index.json": b'{"weight_map": {}}'}
        hub.repos["org/sharded"] = repo({"config.json": b"{}", **shards, **index})
        got(hub, "hf:org/sharded")
        assert files_of("hf:org/sharded") == {"config.json", NAME, *shards, *index}
        hub.repos["org/half"] = repo({"config.json": b"{}", **shards})
        with pytest.raises(
            CheckpointError, match=r"org/half has no weights that can be read here \(it has model-00001"
        ):
            got(hub, "hf:org/half")

    def test_progress_adds_up(self, hub: LocalHub) -> None:
        """The bytes that are told are those of the files, also where a file came twice."""
        hub.faults["model.safetensors"] = ["flip"]
        plans = plan_all([SPEC], client(hub))
        came: list[int] = []
        make_all(plans.todo, client(hub), came.append, lambda line: None)
        assert sum(came) == plans.todo[0].bytes_missing == sum(map(len, SMALL.values())) - 1
        assert len(came) > len(SMALL)

    def test_progress_of_the_newer_storage(self) -> None:
        """Xet's reporter in the client drives the same counter: bytes on disk count, those of the network do not."""
        from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

        came: list[int] = []
        bar = hub_module._Count(came.append).bar
        names = {"reconstruction_desc": "x", "transfer_desc": "x", "total": 9, "log_level": 30}
        with XetDownloadProgressReporter(**names, tqdm_class=bar) as reporter:
            for done, over in ((4, 2), (9, 7)):
                reporter.update_progress(
                    SimpleNamespace(total_bytes_completed=done, total_transfer_bytes_completed=over, total_bytes=9,
                                    total_bytes_completion_rate=1.0, total_transfer_bytes_completion_rate=1.0)
                )  # fmt: skip
        assert came == [4, 5]

    def test_a_release_of_facenet(
        self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its pickle is converted. Where its hash is known, other bytes are refused; where not, that is said."""
        weights = saved({"conv.weight": torch.arange(6.0).reshape(2, 3)})
        vggface2, casia = (hub_module.FACENET[name][0] for name in ("vggface2", "casia-webface"))
        hub.assets |= {vggface2: weights, casia: weights}
        got(hub, "facenet:casia-webface", dry_run=True)
        assert f"nobody states a hash of {casia}" in capsys.readouterr().out
        with pytest.raises(DownloadError, match="came twice with other bytes"):
            got(hub, "facenet:vggface2")
        monkeypatch.setitem(hub_module.FACENET, "vggface2", (vggface2, hashlib.sha256(weights).hexdigest()))
        got(hub, "facenet:vggface2")
        assert files_of("facenet:vggface2") == {"model.safetensors", NAME}
        assert locked()["x0"]["origin"]["commit"] == "release"


class TestWhatGoesWrong:
    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    @pytest.mark.outcome(
        "it cannot be reached, breaks off for good, or sends a file twice with other bytes than it states",
        "one sentence, exit code 1",
    )
    def test_a_flipped_byte_is_noticed(self, hub: LocalHub, name: str) -> None:
        """Of the right size; once it is asked for again, twice the fetch ends, and nothing wrong is kept."""
        hub.faults[name] = ["flip", "flip"]
        with pytest.raises(DownloadError, match=f"{name} of org/name came twice with other bytes than the hub states"):
            got(hub)
        assert not folder_of(SPEC).exists()
        assert not (Path("models") / STATE / "org--name" / name).exists()
        hub.faults[name] = ["flip"]
        got(hub)
        assert (folder_of(SPEC) / name).read_bytes() == SMALL[name]

    def test_a_connection_that_breaks_is_taken_up(self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
        """The rest is asked for by its range; the client keeps what has come in steps of 10 MB."""
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
        hub.faults["model.safetensors"] = ["cut"]
        got(hub)
        assert [span for name, span in hub.served if name == "model.safetensors"][1].startswith("bytes=")
        assert (folder_of(SPEC) / "model.safetensors").read_bytes() == WEIGHTS

    @pytest.mark.outcome(
        "a repository is unknown, gated, or has no weights that can be read here; a pickle has "
        "something else than tensors in it",
        "one sentence each, exit code 2; the other checkpoints are fetched",
    )
    def test_a_gated_repository(self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is said before anything is downloaded, the others are fetched, and a token opens it."""
        hub.repos["org/gated"] = repo(SMALL, gated=True)
        with pytest.raises(
            CheckpointError, match="'org/gated' is gated: ask for access on its page, then set HF_TOKEN"
        ):
            got(hub, "hf:org/gated", SPEC)
        assert list(locked()) == ["x1"]
        monkeypatch.setenv("HF_TOKEN", "right")
        assert got(hub, "hf:org/gated", SPEC) == "models.lock: x0, x1"

    def test_a_renamed_repository(self, hub: LocalHub) -> None:
        """It is found under its new name, which is on record."""
        hub.renamed["org/before"] = "org/name"
        got(hub, "hf:org/before")
        assert locked()["x0"]["origin"]["repository"] == "org/name"

    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("hf:org/unknown", "checkpoint 'hf:org/unknown': the hub has no 'org/unknown', or it is private"),
            ("hf:org/name@v9", "'org/name' has no revision 'v9'"),
            ("hf:a b/../c", "has '..' in its name"),
            ("hf:a b", "'a b' is no name of a repository"),
            ("openclip:ViT-L-14/opnai", "open_clip's table has no repository for 'ViT-L-14/opnai' (did you mean"),
            ("facenet:vggface", "facenet-pytorch has no network 'vggface' (did you mean 'vggface2'?)"),
            ("dir:models/mine", "there is no folder models/mine"),
            ("s3:x", "of no known kind"),
        ],
    )
    @pytest.mark.outcome(
        "a repository is unknown, gated, or has no weights that can be read here; a pickle has "
        "something else than tensors in it",
        "one sentence each, exit code 2; the other checkpoints are fetched",
    )
    def test_what_cannot_be_had_is_one_sentence(self, hub: LocalHub, spec: str, says: str) -> None:
        """It names the spec, and does not keep the others from coming."""
        with pytest.raises(CheckpointError) as caught:
            got(hub, spec, SPEC)
        assert says in str(caught.value)
        assert spec in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2
        assert folder_of(SPEC).exists()

    @pytest.mark.outcome(
        "it cannot be reached, breaks off for good, or sends a file twice with other bytes than it states",
        "one sentence, exit code 1",
    )
    def test_no_hub(self) -> None:
        """The address and what to look at; exit code 1, because nothing that a person wrote is wrong."""
        with pytest.raises(
            DownloadError, match=r"cannot be downloaded from http://127.0.0.1:9 .*HTTPS_PROXY"
        ) as caught:
            plan_all([SPEC], Hub("http://127.0.0.1:9"))
        assert caught.value.exit_code == 1

    def test_offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who has switched the client's network off is told so."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        (problem,) = plan_all([SPEC], Hub("http://127.0.0.1:9")).problems
        assert "HF_HUB_OFFLINE is set; unset it" in problem

    def test_two_at_once(self, hub: LocalHub) -> None:
        """The second says so."""
        Path("models").mkdir()
        with alone(Path("models")), pytest.raises(UsageError, match="another `mer models fetch` is at work"):
            got(hub)

    @pytest.mark.outcome(
        "the disk has no room for all of it",
        "one sentence before the download, exit code 1",
    )
    def test_no_room(self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is said before the download."""
        monkeypatch.setattr("mer_pipeline.models.fetch.free_bytes", lambda folder: 10)
        with pytest.raises(DownloadError, match=r"needs 80,.* more bytes and its disk has 10 free") as caught:
            got(hub)
        assert caught.value.exit_code == 1
        assert not hub.got()

    @pytest.mark.outcome(
        "a repository is unknown, gated, or has no weights that can be read here; a pickle has "
        "something else than tensors in it",
        "one sentence each, exit code 2; the other checkpoints are fetched",
    )
    def test_a_pickle_of_other_things(self, hub: LocalHub) -> None:
        """It is named with its checkpoint, and the next one is fetched all the same."""
        hub.repos["org/bad"] = repo({"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."})
        with pytest.raises(CheckpointError, match=r"checkpoint 'hf:org/bad': pytorch_model.bin cannot be converted"):
            got(hub, "hf:org/bad", SPEC)
        assert list(locked()) == ["x1"]
        assert not folder_of("hf:org/bad").exists()


class TestTheLock:
    def test_the_locked_commit_is_taken(self, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A branch that has moved changes nothing for whoever has the lock, also over another folder."""
        got(hub)
        lock = LOCK.read_bytes()
        one = hub.repos["org/name"]
        one.revisions["main"] = "d" * 40
        one.revisions["d" * 40] = "d" * 40
        one.commits["d" * 40] = {**SMALL, "vocab.txt": b"other\n"}
        (tmp_path / "clone").mkdir()
        monkeypatch.chdir(tmp_path / "clone")
        got(hub)
        assert locked()["x0"]["origin"]["commit"] == "d" * 40
        LOCK.write_bytes(lock)
        got(hub)
        assert LOCK.read_bytes() == lock
        assert (folder_of(SPEC) / "vocab.txt").read_bytes() == SMALL["vocab.txt"]

    def test_other_weights_than_the_locked_are_refused(self, hub: LocalHub) -> None:
        """A lock of the older form, without an origin, is read, too."""
        got(hub)
        old = locked()["x0"]["files"]
        LOCK.write_text(json.dumps({"x0": old}))
        check_locked({"x0": SPEC})
        LOCK.write_text(json.dumps({"x0": {**old, "vocab.txt": "0" * 64}}))
        with pytest.raises(CheckpointError, match=r"'x0': vocab.txt of hf:org/name is not the one in models.lock"):
            got(hub)

    def test_another_checkpoint_in_params_replaces_the_entry(self, hub: LocalHub) -> None:
        """Nobody has to run a second command."""
        got(hub)
        hub.repos["org/other"] = repo({**SMALL, "vocab.txt": b"other"})
        got(hub, "hf:org/other")
        assert locked()["x0"]["origin"]["repository"] == "org/other"

    def test_lock_keeps_the_origin(self, hub: LocalHub) -> None:
        """`mer models lock` writes what `mer models fetch` wrote."""
        got(hub)
        before = LOCK.read_bytes()
        lock_models({"x0": SPEC})
        assert LOCK.read_bytes() == before


class TestABundle:
    def test_it_is_carried(self, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is there already is copied into it, and a project without network takes all from it."""
        hub.repos["org/second"] = repo(SMALL)
        got(hub)
        asked = len(hub.got())
        specs = {"a": SPEC, "b": "hf:org/second"}
        assert "is whole" in fetch_to(specs, client(hub), tmp_path / "bundle")
        assert len(hub.got()) == asked + 3
        (tmp_path / "far").mkdir()
        monkeypatch.chdir(tmp_path / "far")
        assert fetch_from(specs, tmp_path / "bundle") == "models.lock: a, b"
        check_locked(specs)
        assert sorted(path.name for path in Path("models").iterdir()) == ["org--name", "org--second"]
        with pytest.raises(CheckpointError, match="checkpoint 'hf:org/third' is not in"):
            fetch_from({**specs, "c": "hf:org/third"}, tmp_path / "bundle")

    def test_what_was_damaged_on_the_way_is_refused(self, hub: LocalHub, tmp_path: Path) -> None:
        """A flipped byte; and a record that names a pickle or a file elsewhere is none."""
        bundle = tmp_path / "bundle"
        fetch_to({"a": SPEC}, client(hub), bundle)
        path = folder_of(SPEC, bundle) / "model.safetensors"
        path.write_bytes(WEIGHTS[:-1] + b"\1")
        with pytest.raises(CheckpointError, match=r"model.safetensors is not as it was fetched"):
            fetch_from({"a": SPEC}, bundle)
        path.write_bytes(WEIGHTS)
        record = folder_of(SPEC, bundle) / NAME
        origin = json.loads(record.read_text())
        for name in ("../../evil.json", "pytorch_model.bin"):
            record.write_text(json.dumps({**origin, "files": {**origin["files"], name: "0" * 64}}))
            with pytest.raises(CheckpointError, match="is not in"):
                fetch_from({"a": SPEC}, bundle)
        assert not Path("models").exists()


def fetch_and_die(hub: LocalHub, now: Callable[[], bool]) -> bool:
    """Fetch in a process that is killed when its moment has come, and return whether it was done before."""
    pid = os.fork()
    if pid == 0:
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 1)
            got(hub)
        finally:
            os._exit(0)
    while not now():
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


@pytest.mark.outcome(
    "it cannot be reached, breaks off for good, or sends a file twice with other bytes than it states",
    "finished files are kept, and the next run goes on",
)
def test_a_kill_loses_no_finished_file(hub: LocalHub) -> None:
    """At ten random moments: a file that was whole is not asked for again, and the folder appears at the end only."""
    files = {f"model-{n:05}-of-00040.safetensors": save({f"w{n}": np.full(2_000, n)}) for n in range(1, 41)}
    stated = [RemoteFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()]
    index = {"model.safetensors.index.json": b'{"weight_map": {}}'}
    hub.repos["org/name"] = repo({"config.json": b"{}", **files, **index})
    hub.rate = 100_000.0
    state, chance, kept = Path("models") / STATE / "org--name", random.Random(5), []
    for _ in range(10):
        finished = {file.name for file in stated if is_stated(state / file.name, file)}
        hub.served.clear()
        moment = time.monotonic() + chance.uniform(0.1, 0.8)
        done = fetch_and_die(hub, lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
        assert not finished & set(hub.got())
        assert not done
        assert not folder_of(SPEC).exists()
        kept.append(len(finished))
    assert 0 < kept[-1] < len(files)
    hub.rate = None
    got(hub)
    assert files_of() == {"config.json", NAME, *files, *index}
    assert not (Path("models") / STATE).exists()


def test_a_kill_while_weights_are_converted(hub: LocalHub) -> None:
    """The pickle is kept and converted by the next run; what the killed one had begun to write is gone."""
    hub.repos["org/name"] = repo({"config.json": b"{}", "pytorch_model.bin": saved({"w": torch.ones(3)})})
    state = Path("models") / STATE / "org--name"
    assert not fetch_and_die(hub, lambda: any(state.glob(f".model.safetensors.*{TEMPORARY}")))
    assert (state / "pytorch_model.bin").exists()
    asked = len(hub.got())
    got(hub)
    assert len(hub.got()) == asked
    assert files_of() == {"config.json", "model.safetensors", NAME}


def test_the_command_uses_mirror_and_proxy(hub: LocalHub) -> None:
    """`mer models fetch` as a person runs it, with a mirror in HF_ENDPOINT behind a proxy; an error is one line."""
    params = (ROOT / "params.yaml").read_text()
    line = '  tiny: {family: hf-text, input: transcript, checkpoint: "hf:org/name@main"}'
    Path("params.yaml").write_text(
        params.replace("\nencoders:", "\nencoders:\n" + line, 1).replace("encoders: ", "encoders:", 1)
    )
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= {"HF_ENDPOINT": "http://mirror.invalid", "HTTP_PROXY": hub.url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mer_pipeline.cli.main", "models", "fetch"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "models.lock: tiny"
    assert files_of("hf:org/name@main") == {"config.json", "model.safetensors", "vocab.txt", NAME}
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("org/name@main", "org/nobody"))
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: checkpoint 'hf:org/nobody': the hub has no 'org/nobody'")
    assert len(ran.stderr.splitlines()) == 1


def test_emotion2vec_in_the_layout_of_funasr(
    hub: LocalHub, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its config.yaml and its pickle are converted, and the family computes with what is there."""
    hub.repos = miniatures(tmp_path / "made")
    spec = "hf:emotion2vec/emotion2vec_plus_large"
    got(hub, spec, dry_run=True)
    said = capsys.readouterr().out
    assert "model.pt is pickled, and is converted to model.safetensors" in said
    assert "config.yaml is YAML, and is converted to config.json" in said
    got(hub, spec)
    assert files_of(spec) == {"config.json", "model.safetensors", NAME}
    check_locked({"x0": spec})
    sound = clip(audio=sound_row(np.random.default_rng(0).normal(0, 0.1, 8000)))
    vectors = []
    for checkpoint in (spec, f"dir:{tiny / 'emotion2vec'}"):
        made = make_encoder("x", ENCODER.parse({"family": "emotion2vec", "input": "audio", "checkpoint": checkpoint}))
        made.setup(torch.device("cpu"))
        (row,) = made.infer([made.prepare(sound)])
        assert isinstance(row, dict)
        vectors.append(row["vector"])
    assert np.array_equal(*vectors)


def test_a_video_model_is_fetched(hub: LocalHub, tmp_path: Path) -> None:
    """VideoMAE in the hub's layout, by its commit; the pickle beside the safetensors stays there."""
    hub.repos = miniatures(tmp_path / "made")
    spec = f"hf:MCG-NJU/videomae-base@{'c' * 40}"
    got(hub, spec)
    assert files_of(spec) == {"config.json", "model.safetensors", "preprocessor_config.json", NAME}
    made = make_encoder("x", ENCODER.parse({"family": "hf-video", "input": "frames", "checkpoint": spec}))
    made.setup(torch.device("cpu"))
    made.infer([made.prepare(clip(frames=valid(jpegs=pictures(3), times=[0.0, 0.1, 0.2])))])


@pytest.fixture(scope="module")
def profiles() -> dict[str, Params]:
    """The full profiles as `mer init` writes them, in both languages."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for name, language in itertools.product(("ecmf", "mertools"), LANGUAGES):
            params = read_profile(name)
            set_language(params, language)
            found[name if language == "zh" else f"{name} {language}"] = parse_params(plain(params), "params.yaml")
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, profiles: dict[str, Params]) -> Path:
    """A project whose models are fetched for all profiles from miniatures of the real repositories."""
    folder = tmp_path_factory.mktemp("full")
    hub = LocalHub(miniatures(folder))
    (folder / "project").mkdir()
    (folder / "project/prompts").symlink_to(ROOT / "prompts")
    with pytest.MonkeyPatch.context() as patch, serving(hub):
        patch.chdir(folder / "project")
        for params in profiles.values():
            fetch(checkpoints(params), client(hub))
    heavy = {name for name in hub.got() if name.endswith((".pt", ".h5", ".msgpack"))}
    assert not heavy
    return folder / "project"


CLIP = clip(
    frames=valid(jpegs=pictures(3, 0), times=[0.0, 0.1, 0.2]), faces=face_row(3, 0),
    audio=sound_row(np.random.default_rng(0).normal(0, 0.1, 16_000)),
    transcript=valid(zh="我很生气", en="I am angry."), enriched=valid(text="我很生气"),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["ecmf", "mertools", "ecmf en", "mertools en"])
def test_the_full_profiles_start_as_shipped(
    full: Path, profiles: dict[str, Params], profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every encoder and judge with a checkpoint is made and gives a row, and no folder has a pickle."""
    monkeypatch.chdir(full)
    monkeypatch.setattr("torch.load", None)
    params = profiles[profile]
    for name, section in params.encoders.items():
        encoder = make_encoder(name, section)
        encoder.setup(torch.device("cpu"))
        (row,) = encoder.infer([encoder.prepare(CLIP)])
        assert np.isfinite(row["vector"]).all(), name  # type: ignore[index]
    for name, section in params.judges.items():
        if getattr(section, "checkpoint", None):
            judge = make_judge(name, section, params.dataset.classes)
            judge.setup(torch.device("cpu"))
            (row,) = judge.infer([judge.prepare(CLIP)])
            assert row["label"] in params.dataset.classes  # type: ignore[index]
    assert not [path for path in full.rglob("*") if path.suffix in {".bin", ".pt"}]


@pytest.mark.slow
def test_tied_weights_keep_their_values(full: Path, profiles: dict[str, Params]) -> None:
    """The converted BERT has both names of its tied table, and the pickle is on record but not there."""
    from safetensors.torch import load_file

    folder = full / folder_of(profiles["mertools"].encoders["words"].checkpoint)  # type: ignore[attr-defined]
    state = load_file(folder / "model.safetensors")
    assert torch.equal(state["cls.predictions.decoder.weight"], state["bert.embeddings.word_embeddings.weight"])
    origin = read_origin(folder)
    assert origin is not None
    assert "pytorch_model.bin" in origin.downloaded
    assert "pytorch_model.bin" not in origin.files


def test_open_clip_disagreements_are_said(hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its table says that the weights were trained with QuickGELU; a configuration without it is told of."""
    spec = "openclip:ViT-L-14/openai"
    for said, config in ((True, {}), (False, {"quick_gelu": True})):
        files = {
            "open_clip_config.json": json.dumps({"model_cfg": config}).encode(),
            "open_clip_model.safetensors": WEIGHTS,
        }
        hub.repos[TIMM] = repo(files)
        fetch_to({"x": spec}, client(hub), tmp_path / str(said))
        assert ("has quick_gelu True for ViT-L-14/openai" in capsys.readouterr().out) is said


def test_the_safetensors_of_a_pull_request(hub: LocalHub) -> None:
    """A reference with slashes is a revision, too."""
    hub.repos["org/pr"] = Repo(
        {"main": "a" * 40, "refs/pr/1": "b" * 40, "b" * 40: "b" * 40}, {"a" * 40: {}, "b" * 40: SMALL}
    )
    got(hub, "hf:org/pr@refs/pr/1")
    assert Path("models/org--pr@refs--pr--1/model.safetensors").exists()


def test_the_text_of_a_plan_without_checkpoints() -> None:
    assert plan_text(plan_all([], Hub()), {}) == "params.yaml names no checkpoints"
