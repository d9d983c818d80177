"""Ask a hub what a repository has, and download its files, each checked against the hash that the hub states.

huggingface_hub does the transfer: it knows HF_ENDPOINT (a mirror), HF_TOKEN, proxies and the hub's storage. It compares
sizes only, so a file with a wrong byte passes it. Here every file is read again: large files have a SHA-256 on the hub,
small ones the SHA-1 that git gives them. InceptionResnetV1's weights are no repository but files of a release, at the
addresses that facenet-pytorch's own code names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.base.errors import CheckpointError, DownloadError, MerError, did_you_mean
from mer_pipeline.models.checkpoint import parse
from mer_pipeline.models.open_clip_table import place_of
from mer_pipeline.models.wanted import Kind, RemoteFile, Repository

# Is called with the number of bytes that have come; it is negative where some are asked for anew.
Tell = Callable[[int], None]

WAIT_S = 30.0  # for the first answer of a server
BLOCK = 1 << 20

RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
# For each network its file in the release, and its SHA-256 as many projects that use it state it; None where none does.
FACENET = {
    "vggface2": ("20180402-114759-vggface2.pt", "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"),
    "casia-webface": ("20180408-102900-casia-webface.pt", None),
}


@dataclass(frozen=True)
class Source:
    """What a checkpoint's spec asks for.

    Attributes:
        kind: of the spec.
        repository: its name on the hub, or the network of facenet-pytorch.
        revision: a branch, tag, reference or commit; None for the main branch.
        weights: the file of weights that open_clip's table names; "" where it names none.
    """

    kind: Kind
    repository: str
    revision: str | None = None
    weights: str = ""


def source_of(spec: str) -> Source | None:
    """Return what a spec asks for; None for `dir:`, which is the user's own.

    Raises:
        CheckpointError: open_clip or facenet-pytorch have no weights of this name.
    """
    kind, name = parse(spec)
    name, _, revision = name.partition("@")
    match kind:
        case "hf":
            return Source("hf", name, revision or None)
        case "openclip":
            repository, weights = place_of(name)
            return Source("openclip", repository, revision or None, weights)
        case "facenet":
            if name not in FACENET:
                raise CheckpointError(f"facenet-pytorch has no network '{name}'{did_you_mean(name, FACENET)}")
            return Source("facenet", name)
        case _:
            return None


class Hub:
    """A hub, and the releases of facenet-pytorch.

    Args:
        endpoint: its address; None for that in HF_ENDPOINT, or else the usual one.
        release: the address of the folder with the weights of facenet-pytorch.
    """

    def __init__(self, endpoint: str | None = None, release: str = RELEASE) -> None:
        self.endpoint = endpoint
        self.release = release

    def describe(self, source: Source) -> Repository:
        """Ask what a repository has at a revision. No file is downloaded.

        Raises:
            CheckpointError: there is no such repository or revision, or it is gated and access is not granted.
            DownloadError: the server cannot be reached, or answers with an error.
        """
        with _told(source, self.endpoint):
            return self._release(source) if source.kind == "facenet" else self._repository(source)

    def _repository(self, source: Source) -> Repository:
        from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.hf_api import RepoFile

        api = HfApi(endpoint=self.endpoint)
        info = api.model_info(source.repository, revision=source.revision, timeout=WAIT_S)
        name, commit = info.id, str(info.sha)  # the name is another one where the repository was renamed
        tree = api.list_repo_tree(name, recursive=True, revision=commit)
        files = tuple(
            RemoteFile(one.path, one.size, one.lfs.sha256 if one.lfs else None, None if one.lfs else one.blob_id)
            for one in tree
            if isinstance(one, RepoFile)
        )
        if info.gated and files:  # the list is open to all, the files are not
            get_hf_file_metadata(hf_hub_url(name, files[0].name, revision=commit, endpoint=self.endpoint))
        card = info.card_data
        licence = None if card is None else card.get("license_name") or card.get("license")
        return Repository(name, commit, licence, bool(info.gated), files, source.weights)

    def _release(self, source: Source) -> Repository:
        from huggingface_hub import get_session
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # public, but lazily loaded

        name, sha256 = FACENET[source.repository]
        answer = get_session().head(f"{self.release}/{name}", timeout=WAIT_S)
        hf_raise_for_status(answer)
        file = RemoteFile(name, int(answer.headers.get("Content-Length", 0)), sha256)
        return Repository("timesler/facenet-pytorch", self.release.rpartition("/")[2], "mit", False, (file,))

    def download(self, source: Source, repository: Repository, file: RemoteFile, folder: Path, tell: Tell) -> None:
        """Download a file of a repository into a folder. It appears there whole and checked, or not at all.

        A file that does not have the stated hash is asked for a second time, past all caches.

        Raises:
            CheckpointError: access is not granted.
            DownloadError: the server cannot be reached, breaks off, or sends something else than it states.
        """
        path = folder / file.name
        for again in (False, True):
            told = _Count(tell)
            with _told(source, self.endpoint):
                if source.kind == "facenet":
                    self._get(file, path, told)
                else:
                    self._hub_get(repository, file, folder, told, again)
            if is_stated(path, file):
                tell(file.size - told.came)  # what came from a cache was not counted
                return
            path.unlink()
            tell(-told.came)
        raise DownloadError(
            f"{file.name} of {repository.name} came twice with other bytes than the hub states, and was removed; "
            "run `mer models fetch` again, and ask the owner of the mirror or proxy if it stays"
        )

    def _hub_get(self, repository: Repository, file: RemoteFile, folder: Path, count: _Count, again: bool) -> None:
        from huggingface_hub import hf_hub_download

        hf_hub_download(
            repository.name,
            file.name,
            revision=repository.commit,
            local_dir=folder,
            endpoint=self.endpoint,
            force_download=again,
            tqdm_class=count.bar,
        )

    def _get(self, file: RemoteFile, path: Path, count: _Count) -> None:
        from huggingface_hub.file_download import http_get

        from mer_pipeline.base.atomic import replacing

        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as to:
            http_get(f"{self.release}/{file.name}", to, expected_size=file.size or None, tqdm_class=count.bar)


def is_stated(path: Path, file: RemoteFile) -> bool:
    """Return whether a file on disk has the size and the hash that the hub states for it."""
    if not path.is_file() or (file.size and path.stat().st_size != file.size):
        return False
    if file.sha256 is None and file.git is None:
        return True
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size)
    with path.open("rb") as data:
        while block := data.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == (file.sha256 or file.git)


class _Count:
    """Count the bytes of one download by what the client takes for a class of progress bars."""

    def __init__(self, tell: Tell) -> None:
        self.came = 0
        count = self

        class Bar:
            """As much of tqdm as the client uses. With Xet the client tells bytes on disk and of the network apart."""

            n = 0
            total: int | None = None

            def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
                pass

            def update(self, n: int = 1) -> None:
                """Bytes that were written."""
                count.came += n
                tell(n)

            def update_transfer(self, n: int) -> None:
                """Bytes of the network, which are not counted a second time."""

            def set_postfix_str(self, *_: object, **__: object) -> None:
                """The bar shows its own rate."""

            set_transfer_postfix_str = set_postfix_str

            def close(self) -> None:
                """Nothing is open."""

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

        self.bar = Bar


@contextmanager
def _told(source: Source, endpoint: str | None) -> Iterator[None]:
    """Tell what the client raises in one sentence."""
    import httpx2
    from huggingface_hub import constants, errors

    where = f"'{source.repository}'"
    try:
        yield
    except MerError:
        raise
    except errors.GatedRepoError:
        raise CheckpointError(
            f"{where} is gated: ask for access on its page, then set HF_TOKEN to a token of that account"
        ) from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{where} has no revision '{source.revision}'; is its name right?") from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(f"the hub has no {where}, or it is private and HF_TOKEN is not its reader's") from None
    except errors.HFValidationError:
        raise CheckpointError(f"{where} is no name of a repository; write hf:org/name") from None
    except errors.OfflineModeIsEnabled:
        raise CheckpointError("HF_HUB_OFFLINE is set; unset it to download, or use `mer models fetch --from`") from None
    except (httpx2.HTTPError, errors.FileMetadataError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DownloadError(f"{where} cannot be kept: {error.strerror} ({error.filename})") from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        with suppress(AttributeError):
            reason = f"HTTP {error.response.status_code}"  # type: ignore[union-attr]
        place = source.repository if source.kind == "facenet" else endpoint or constants.ENDPOINT
        raise DownloadError(
            f"{where} cannot be downloaded from {place} ({reason}); look at the network, HTTPS_PROXY and HF_ENDPOINT "
            "(a mirror), and run `mer models fetch` again: finished files are kept"
        ) from None
