"""The command `mer store stat | verify | forget | gc`: list, check and remove what the store has."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.atomic import TEMPORARY
from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.cli.explain import input_digest_of
from mer_pipeline.cli.units import size_text
from mer_pipeline.config.params import load_params
from mer_pipeline.config.steps import find_step
from mer_pipeline.stage.checkout import check_code
from mer_pipeline.store.fingerprint import EXTERNAL_RESPONSE
from mer_pipeline.store.packs import ASIDE, INDEX, PACK, PACKS, PROBLEMS
from mer_pipeline.store.row_cache import row_cache_of
from mer_pipeline.store.store import Store

DAY_S = 86_400.0


@dataclass(frozen=True)
class PackSetStat:
    """The size and use of one pack set.

    Attributes:
        transform: the transform's name.
        fingerprint: the fingerprint's id.
        packs: the number of packs.
        size: the bytes of all files.
        last_used: when a run last used it, in seconds since 1970, exact to about a day.
        external_response: whether the rows are replies of a language model, which cannot be computed again.
    """

    transform: str
    fingerprint: str
    packs: int
    size: int
    last_used: float
    external_response: bool


def this_store(url: str | None = None) -> Store:
    """Return the store at a URL; None: the store that stages on this machine use.

    Raises:
        UsageError: there is no store (MER_STORE=none), or the URL is not valid.
    """
    found = url or load_runtime().store_url
    if found is None:
        raise UsageError("MER_STORE=none: there is no store")
    return Store(found)


def pack_sets(store: Store) -> list[PackSetStat]:
    """Return all pack sets of a store, sorted by transform; the one that was used last is the first of a transform."""
    found = []
    for transform in store.transforms():
        for fingerprint in store.fingerprints(transform):
            files = store.files(transform, fingerprint)
            packs = [name for name in files if name.endswith(PACK) and not name.endswith(PROBLEMS)]
            size = sum(info.size for info in files.values())
            used = max((info.written for info in files.values()), default=0.0)
            external_response = EXTERNAL_RESPONSE in (store.parts(transform, fingerprint) or {})
            found.append(PackSetStat(transform, fingerprint, len(packs), size, used, external_response))
    return found


def stat(store: Store) -> str:
    """Return a table with one line per fingerprint, and totals."""
    found = pack_sets(store)
    lines = [f"{store.root}", f"{'transform':<20} {'fingerprint':<14} {'packs':>6} {'size':>9}  last used"]
    for one in found:
        day = time.strftime("%Y-%m-%d", time.localtime(one.last_used))
        lines.append(f"{one.transform:<20} {one.fingerprint[:12]:<14} {one.packs:>6} {size_text(one.size):>9}  {day}")
    aside = sum(len(store.root.files(folder)) for folder in _aside_folders(store))
    lines.append(f"{len(found)} fingerprints, {size_text(sum(pack_set.size for pack_set in found))}")
    if aside:
        lines.append(f"{aside} damaged packs set aside in {store.root.path(ASIDE)}")
    return "\n".join(lines)


def verify(store: Store) -> list[str]:
    """Read every pack, and set aside those that are damaged or do not belong to their fingerprint.

    Returns:
        One line for each file that was set aside.
    """
    wrong = []
    for transform in store.transforms():
        for fingerprint in store.fingerprints(transform):
            folder = f"{PACKS}/{transform}/{fingerprint}"
            for name in sorted(store.files(transform, fingerprint)):
                if name.endswith((PACK, INDEX)) and (why := _fault(store, f"{folder}/{name}", fingerprint)):
                    store.root.move(f"{folder}/{name}", f"{ASIDE}/{transform}/{fingerprint}/{name}")
                    wrong.append(f"{transform}/{fingerprint[:12]}/{name[:16]}…: {why}; set aside")
    return wrong


def _fault(store: Store, path: str, fingerprint: str) -> str | None:
    data = store.root.read(path)
    name = path.rpartition("/")[2]
    if hashlib.sha256(data).hexdigest() != name.split(".")[0]:
        return "torn or altered"
    if name.endswith((PROBLEMS, INDEX)):
        return None
    try:
        own = (pq.read_schema(io.BytesIO(data)).metadata or {}).get(b"mer.fingerprint")
    except pa.ArrowException:
        return "not Parquet"
    return None if own == fingerprint.encode() else "of another fingerprint"


def gc(store: Store, keep_days: float, *, dry_run: bool, external_response: bool = False) -> str:
    """Remove pack sets that no run used for some days, and old damaged packs and temporary files.

    Args:
        store: the store.
        keep_days: what was used in the last so many days is kept.
        dry_run: whether to only say what would be removed.
        external_response: whether to remove the replies of language models too.

    Returns:
        A text that says what was removed.

    Raises:
        ReadOnlyStore: this process may not remove files.
    """
    before = time.time() - keep_days * DAY_S
    old = [pack_set for pack_set in pack_sets(store) if pack_set.last_used < before]
    doomed = [pack_set for pack_set in old if external_response or not pack_set.external_response]
    spared = (
        f"\nkept {len(old) - len(doomed)} of replies, which are external responses (--external-responses)"
        if len(doomed) < len(old)
        else ""
    )
    for pack_set in doomed if not dry_run else ():
        store.root.remove(f"{PACKS}/{pack_set.transform}/{pack_set.fingerprint}")
    litter = 0
    for folder in [*_aside_folders(store), *(f"{PACKS}/{s.transform}/{s.fingerprint}" for s in pack_sets(store))]:
        for name, info in store.root.files(folder).items():
            if info.written < before and (folder.startswith(ASIDE) or name.endswith(TEMPORARY)):
                litter += 1
                if not dry_run:
                    store.root.remove(f"{folder}/{name}")
    verb = "would remove" if dry_run else "removed"
    names = "".join(
        f"\n  {pack_set.transform} {pack_set.fingerprint[:12]} {size_text(pack_set.size)}" for pack_set in doomed
    )
    return (
        f"{verb} {len(doomed)} fingerprints not used for {keep_days:g} days, "
        f"{size_text(sum(one.size for one in doomed))}, and {litter} damaged or left-over files{names}{spared}"
    )


def forget(stage: str, clip_ids: Sequence[str], *, external_response: bool = False) -> str:
    """Remove rows of a step, with its present fingerprint, from the store, so that the next run computes them again.

    Args:
        stage: the stage, in a form that `find_step` accepts.
        clip_ids: the clips; none: all.
        external_response: must be true to remove replies of a language model, which cost money.

    Returns:
        A text that says how many rows were removed.

    Raises:
        UsageError: there is no such stage or clip, there is no store, the rows are replies and `external_response` is
            false, or the imported code is not the project's.
        ReadOnlyStore: this process may not remove rows.
    """
    check_code(Path())
    params, runtime = load_params(), load_runtime()
    step = find_step(stage, params)
    if runtime.store_url is None:
        raise UsageError("MER_STORE=none: there is no store")
    if step.external_response and not external_response:
        raise UsageError(f"{step.name} are external responses, which would be asked for again (--external-responses)")
    transform = step.make()
    digests = [input_digest_of(transform, clip_id, params.shards.count) for clip_id in clip_ids]
    forgotten = row_cache_of(transform, runtime).forget(digests if clip_ids else None)
    return (
        f"{step.name}: {forgotten} rows forgotten; `dvc repro --force --single-item {step.stage}` computes them again, "
        "and `dvc repro` carries on what changed"
    )


def _aside_folders(store: Store) -> list[str]:
    return [
        f"{ASIDE}/{transform}/{fingerprint}"
        for transform in store.root.folders(ASIDE)
        for fingerprint in store.root.folders(f"{ASIDE}/{transform}")
    ]
