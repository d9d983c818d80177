"""The head cache, which keeps trained heads in the store by what they were trained on.

The key covers features, labels, folds, the params that the head reads, and its code. A head that was cross-validated
before on the same rows is taken from the store. So after a change of one encoder, the heads on other single modalities
are found, and after a return to an earlier state all heads are. The keys of present heads do not change when a head is
added, or when an option of another head changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, astuple

import numpy as np
import pyarrow as pa
from safetensors.numpy import load, save

from mer_pipeline.base.errors import ReadOnlyStore
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.modalities import Features
from mer_pipeline.base.runtime import INTRA_OP_THREADS, Runtime
from mer_pipeline.config.train_params import CrossValidationParams, HeadName, TrainParams
from mer_pipeline.heads.base import ComputeConfig, Epoch
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.store.code.options import options_of
from mer_pipeline.store.fingerprint import Fingerprint, code_parts
from mer_pipeline.store.packs import PackSet
from mer_pipeline.store.store import Store
from mer_pipeline.tables.rows import complete_row, digest, stage_schema, to_table
from mer_pipeline.training.artifacts import member_from, member_tensors
from mer_pipeline.training.cross_validation import is_searched, members_of, validate
from mer_pipeline.training.labels import Labels
from mer_pipeline.training.member import HERE
from mer_pipeline.training.search import FoldSearch
from mer_pipeline.training.validated import Trained, Validated, combine

SCHEMA = pa.schema([pa.field("blob", pa.binary())])  # the bytes that `_pack` returns
# Settings of cross-validation that enter the key in another way: only those seeds that the head is trained with, and
# `search` only if there is one, with that part of its space that concerns the head.
TOLD = {"seeds", "search"}


def head_cache(runtime: Runtime) -> HeadCache:
    """Return the head cache that uses the store and the compute config of this machine."""
    return HeadCache(runtime.store_url, ComputeConfig(runtime.torch_device(), runtime.workers))


class HeadCache:
    """Cross-validation that first looks for its result in the store.

    Args:
        url: the storage root, or None to keep nothing.
        compute: where networks are trained.

    Raises:
        StoreError: the store can't be reached.
    """

    def __init__(self, url: str | None, compute: ComputeConfig = HERE) -> None:
        self._compute = compute
        self._store = None if url is None else Store(url)
        self._pack_sets: dict[tuple[type, ...], PackSet] = {}

    def cross_validate(
        self,
        name: HeadName,
        features: Features,
        labels: Labels,
        classes: int,
        params: TrainParams,
        tick: Callable[[], None] = lambda: None,
        *,
        search: bool = False,
    ) -> Validated:
        """Do the same as the function `cross_validate`, with the same result to the last bit.

        A result from the store calls `tick` as often as the training would. Without `search`, no params are searched.
        """
        spec = head_of(name, params)
        if spec.late is not None:
            parts = [part.name for part in spec.trained]
            each = (self.cross_validate(part, features, labels, classes, params, tick, search=search) for part in parts)
            return combine(*each)
        if not (search and is_searched(spec, labels, params)):
            params = params.as_they_stand
        if self._store is None:
            return validate(spec, features, labels, classes, params, tick, self._compute)
        pack_set = self._pack_set(self._store, spec)
        key = key_of(name, features, labels, classes, params)
        if params.search.trials:
            space = list(spec.space(params.search).items())
            key = digest({"key": key, "search": json.dumps([options_of(params.search, {"space"}), space])})
        found = pack_set.find([key])
        table = pack_set.read(found) if found[0] >= 0 else None
        if table is not None:
            with suppress(ReadOnlyStore):
                pack_set.open_for_writing()  # marks the pack set as in use
            for _ in range(members_of(name, labels, params)):
                tick()
            return _unpack(table["blob"][0].as_py(), spec, features, classes, labels.kind)
        validated = validate(spec, features, labels, classes, params, tick, self._compute)
        row = complete_row(
            f"{name} on {'+'.join(features.names)}", key, {"blob": _pack(validated, features)}, None, SCHEMA
        )
        try:
            pack_set.put(
                to_table([row], stage_schema(SCHEMA)), {"transform": "heads", **pack_set.fingerprint.provenance()}
            )
            pack_set.write_index()
        except ReadOnlyStore:
            self._store = None  # a team's store may be read-only: then heads are trained but not kept
        return validated

    def _pack_set(self, store: Store, spec: HeadSpec) -> PackSet:
        """Return the pack set of all heads that are trained by the same code."""
        if spec.code not in self._pack_sets:
            fingerprint = head_fingerprint(spec, self._compute.device.type)
            self._pack_sets[spec.code] = store.pack_set("heads", fingerprint, stage_schema(SCHEMA))
        return self._pack_sets[spec.code]


def head_fingerprint(spec: HeadSpec, device: str) -> Fingerprint:
    """Return the fingerprint of a head's training on a kind of device ("cpu" or "cuda").

    It covers the code of the head and of cross-validation, but not the code of other heads.
    """
    code = code_parts(validate, _pack, _unpack, *dict.fromkeys(spec.code), on_gpu=device == "cuda")
    return Fingerprint({**code, "threads": str(INTRA_OP_THREADS), "device": device})


def key_of(name: HeadName, features: Features, labels: Labels, classes: int, params: TrainParams) -> str:
    """Return the digest of everything except the code that determines a cross-validation without a search."""
    spec, settings = head_of(name, params), CrossValidationParams.model_fields.keys() - TOLD
    coded = labels.coded
    other = {} if coded is None else {"target": coded.target.footer(), "rows": coded.rows}  # classes have older keys
    return digest(
        {
            **other,
            "head": json.dumps(spec.key),
            "seeds": list(spec.seeds(params)),
            "names": features.names,
            "x": [np.where(mask[:, None], x, 0) for x, mask in zip(features.x, features.mask.T, strict=True)],
            "mask": features.mask,
            "labels": [labels.fold, labels.given, labels.held_out, labels.pseudo],
            "posterior": None if params.targets == "hard" else labels.posterior,
            "classes": classes,
            "params": json.dumps(options_of(params, TrainParams.model_fields.keys() - settings), sort_keys=True),
        }
    )


def _pack(validated: Validated, features: Features) -> bytes:
    arrays = {"probabilities": validated.probabilities, "weights": validated.weights, "by_prior": validated.by_prior}
    histories = []
    for at, one in enumerate(validated.members):
        arrays |= {f"{at}/{key}": array for key, array in member_tensors(one.member, features.names).items()}
        histories.append([one.seed, one.fold, [astuple(epoch) for epoch in one.history]])
    if validated.searches is not None:
        arrays["searches"] = _text(json.dumps([asdict(one) for one in validated.searches]))
    return save({key: np.ascontiguousarray(a) for key, a in arrays.items()} | {"members": _text(json.dumps(histories))})


def _unpack(blob: bytes, spec: HeadSpec, features: Features, classes: int, kind: Kind) -> Validated:
    arrays = load(blob)
    members = []
    for at, (seed, fold, history) in enumerate(json.loads(arrays["members"].tobytes())):
        own = {key.removeprefix(f"{at}/"): array for key, array in arrays.items() if key.startswith(f"{at}/")}
        member = member_from(own, features.names, features.dims, classes, spec, kind)
        members.append(Trained(seed, fold, member, [Epoch(*values) for values in history]))
    searches = None
    if "searches" in arrays:
        searches = [FoldSearch(**each) for each in json.loads(arrays["searches"].tobytes())]
    return Validated(members, arrays["probabilities"], arrays["weights"], arrays["by_prior"], searches)


def _text(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(text.encode(), np.uint8)
