"""The one idea: everything expensive is a Transform, and one function runs any of them (`run.py`).

    clip ──prepare──► item ──(batches of one bucket)──infer──► row

`prepare` is CPU work on one clip and runs in threads, or in processes where it decodes media; `infer` is device work
on a batch that may mix clips of the same bucket; the result is one row per clip. A row's value is a function of that
clip alone: padding and masking live in `infer`, batches are padded to the transform's own fixed `batch_rows`, and the
padded length is decided by the item itself (`bucket`). Then neither order, companions nor batch size can change a byte.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import ClipError, Skip

if TYPE_CHECKING:
    import torch

    from mer_pipeline.config.section import Section

Item = TypeVar("Item")


@dataclass(frozen=True)
class Source:
    """A table that a transform reads, by the columns that decide its result.

    Attributes:
        table: "manifest" or a stage's name.
        columns: they enter the clip's `input_digest` (a stage's table enters by its rows' own `digest`).
        locators: columns that say where to look and not what is there, such as paths: renaming a
            folder recomputes nothing.
    """

    table: str
    columns: tuple[str, ...]
    locators: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExternalTable(Source):
    """A table that other people made, in a form of their own.

    Attributes:
        read: from where it lies (a file or a folder) to one row per name: `clip_id`, columns and locators.
    """

    read: Callable[[Path], pa.Table] = field(kw_only=True)


class Transform(ABC, Generic[Item]):
    """One expensive step from clips to rows. Subclasses are one concept, one file.

    Attributes:
        name: of the stage or encoder, in lower case.
        sources: what is read; the first decides which clips there are, the others are joined to it.
        schema: Arrow schema of the value columns, one row per clip.
        params: the section of params.yaml that it was made from.
        uses_torch: whether `infer` runs on torch's device; where not, torch is never imported.
        batch_rows: the fixed number of rows that a device batch is padded to. It is part of the value path and of the
            key.
        in_flight: how many clips may be in `prepare` at once, for one that waits for somebody else; None: a worker
            each.
        decodes: `prepare` opens media files, which may be broken or malicious. It runs in a process of its own
            (engines/isolation.py), and what it returns is made of plain values, arrays and dataclasses.
        external_response: the rows are responses of an outside service. Their key is what was asked, and not the code
            that asks, and no check computes them again.
        version: raised by whoever changes what the rows become in a way that nothing else in their key shows, above
            all the default of a param: params enter the key only where they do not stand at their defaults.
    """

    name: str
    sources: tuple[Source, ...]
    schema: pa.Schema
    params: Section
    uses_torch: bool = False
    batch_rows: int = 1
    in_flight: int | None = None
    decodes: bool = False
    external_response: bool = False
    version: int = 1

    def key(self) -> Mapping[str, object]:
        """What counts, of what it holds and nobody else can digest.

        What a transform holds enters the key of its rows by value. An object of a library has no value that could be
        told in general, and is refused. An entry that has the name of an attribute ("net", or "detector.net" where
        another object holds it) stands for it; any other is one more part of the key.

        Returns:
            Values by name, made of None, bool, int, float, str, bytes, arrays, sequences and mappings.

        Example:
            A tokenizer that a constructor makes: `return {"tokenizer": self.tokenizer.get_vocab()}`.
        """
        return {}

    def files(self) -> Sequence[Path]:
        """Files whose content decides the rows: weights, tokenisers, prompts.

        They enter the fingerprint by content and by their paths in the folder that they share, whose own name does not
        count.
        """
        return ()

    def setup(self, device: torch.device) -> None:
        """Load what `infer` needs; called once where `uses_torch`, before any thread starts.

        Raises:
            CheckpointError: a model's files are missing or unfit.
        """
        del device

    @abstractmethod
    def prepare(self, clip: Clip) -> Item:
        """Read, decode, resize, tokenise: all that needs no device. Runs in parallel.

        Raises:
            Skip: there is nothing to compute (a row with `valid=false`).
            BadInput: the clip is broken (quarantine).
            Transient: it may go well when tried again.
        """

    @abstractmethod
    def infer(self, items: Sequence[Item]) -> list[Row | Skip]:
        """Turn prepared items of one bucket into rows of `schema`, in their order; a Skip is a result too."""

    def media(self, clip: Clip) -> Sequence[Path]:
        """The files that `prepare` decodes; their size decides how long it may take. Asked only where `decodes`."""
        del clip
        return ()

    def given_up(self, clip: Clip, error: ClipError) -> Item:
        """What takes the place of an item where decoding a clip ended its process twice.

        Args:
            clip: which; its media must not be opened again.
            error: how the process ended: Undecodable, or Transient where the clip need not be to blame.

        Raises:
            Undecodable, Transient: `error`, where there is nothing to put in place.
        """
        del clip
        raise error

    def note(self, clip_ids: Callable[[], Collection[str]]) -> str:
        """What a person should know of what it was given, in a few words; "" where there is nothing to say.

        Args:
            clip_ids: gives the clips of the first source.

        Raises:
            DatasetError: a table from outside names none of these clips.
        """
        del clip_ids
        return ""

    def close(self) -> None:
        """Let go of what was held open, such as connections; called once, when a run ends in whatever way."""

    def bucket(self, item: Item) -> int:
        """The padded length that this item alone decides; only items of one bucket meet in a batch."""
        del item
        return 0
