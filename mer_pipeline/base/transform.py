"""The base class of every expensive computation: a transform computes one row per clip, and `run.py` runs any of them.

    clip ──prepare──► item ──(batches of one bucket)──infer──► row

`prepare` is CPU work on one clip. It runs in threads, or in processes if it decodes media. `infer` is device work on a
batch of clips of one bucket. The values of a row depend on its clip alone: `infer` pads and masks, every batch is
padded to the transform's fixed number of rows (`batch_rows`), and each item itself decides its padded length
(`bucket`). The order of the clips, the other clips in a batch and the batch size therefore cannot change a byte of a
row.
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
    """A table that a transform reads, with the columns that decide its result.

    Attributes:
        table: "manifest" or the name of a stage.
        columns: the columns whose values enter the clip's `input_digest`. A stage's table enters by the `digest` of
            its rows instead.
        locators: columns that say where data lie and not what they are, such as paths. They do not enter the digest,
            so that nothing is recomputed when a folder is renamed.
    """

    table: str
    columns: tuple[str, ...]
    locators: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExternalTable(Source):
    """A table that was made elsewhere, in a file format of its own.

    Attributes:
        read: reads the table from its path (a file or a folder). The result has one row per name, with `clip_id`, the
            columns and the locators.
    """

    read: Callable[[Path], pa.Table] = field(kw_only=True)


class Transform(ABC, Generic[Item]):
    """One expensive computation from clips to rows. Each subclass has a file of its own.

    Attributes:
        name: the name of the stage or encoder, in lower case.
        sources: the tables that are read. The first decides which clips there are; the others are joined to it.
        schema: Arrow schema of the value columns; there is one row per clip.
        params: the section of params.yaml that the transform was made from.
        uses_torch: whether `infer` runs on torch's device. If not, torch is never imported.
        batch_rows: the fixed number of rows that a device batch is padded to. It may change the last bits of the
            values, so it is a part of the fingerprint.
        cpu_rows: the same on a CPU, where a core may need no longer for rows one by one; None: `batch_rows`.
        in_flight: how many clips may be in `prepare` at once, for a transform that waits for a server; None: one per
            worker.
        decodes: whether `prepare` opens media files, which may be broken or malicious. It then runs in a process of its
            own (engines/isolation.py), and what it returns consists of plain values, arrays and
            dataclasses.
        external_response: whether the rows are replies of an outside service. Such rows are stored under what was
            asked, without the code that asks, and no check computes them again.
        version: a number to raise after a change that alters the rows and that the rest of the fingerprint does not
            show. The main case is a new default of a param, because params enter the fingerprint only where they
            differ from their defaults.
    """

    name: str
    sources: tuple[Source, ...]
    schema: pa.Schema
    params: Section
    uses_torch: bool = False
    batch_rows: int = 1
    cpu_rows: int | None = None
    in_flight: int | None = None
    decodes: bool = False
    external_response: bool = False
    version: int = 1

    def key(self) -> Mapping[str, object]:
        """Return values that stand for attributes which cannot be digested.

        The attributes of a transform enter the fingerprint by value. An object of a library has no value that could
        be read in general, so it is refused with an error. An entry here with the name of such an attribute ("net",
        or "detector.net" if another object holds it) stands for the attribute. An entry with any other name is a
        further part of the fingerprint.

        Returns:
            Values by name, made of None, bool, int, float, str, bytes, arrays, sequences and mappings.

        Example:
            For a tokenizer that the constructor makes: `return {"tokenizer": self.tokenizer.get_vocab()}`.
        """
        return {}

    def rows_on(self, device: str) -> int:
        """Return the fixed number of rows on a kind of device, "cpu" or "cuda"."""
        return self.cpu_rows if device == "cpu" and self.cpu_rows is not None else self.batch_rows

    def files(self) -> Sequence[Path]:
        """Return the files whose content decides the rows, such as weights, tokenisers and prompts.

        They enter the fingerprint by their content and by their paths relative to their common folder. The path of
        that folder does not count.
        """
        return ()

    def setup(self, device: torch.device) -> None:
        """Load what `infer` needs. If `uses_torch` is set, this is called once, before any thread starts.

        Args:
            device: the device that `infer` will run on.

        Raises:
            CheckpointError: a model's files are missing or do not fit.
        """
        del device

    @abstractmethod
    def prepare(self, clip: Clip) -> Item:
        """Do all work on a clip that needs no device: read, decode, resize, tokenise. Threads call this in parallel.

        Raises:
            Skip: there is nothing to compute; the clip's row has `valid=false`.
            BadInput: the clip is broken; it goes to the quarantine.
            Transient: another try may succeed.
        """

    @abstractmethod
    def infer(self, items: Sequence[Item]) -> list[Row | Skip]:
        """Compute the rows (of `schema`) of prepared items of one bucket, in the order of the items.

        For an item without a result, the list has a Skip with the reason.
        """

    def media(self, clip: Clip) -> Sequence[Path]:
        """Return the files that `prepare` decodes; their size decides how long it may take. Asked if `decodes`."""
        del clip
        return ()

    def given_up(self, clip: Clip, error: ClipError) -> Item:
        """Return what takes the place of the item, after decoding a clip has ended its process twice.

        Args:
            clip: the clip; its media must not be opened again.
            error: how the process ended: Undecodable, or Transient if the clip need not be the cause.

        Raises:
            Undecodable, Transient: `error` itself, if nothing can take the item's place.
        """
        del clip
        raise error

    def note(self, clip_ids: Callable[[], Collection[str]]) -> str:
        """Return a short note about the inputs for the user, such as on unmatched names; "" if there is none.

        Args:
            clip_ids: a function that returns the clips of the first source.

        Raises:
            DatasetError: a table from outside names none of these clips.
        """
        del clip_ids
        return ""

    def close(self) -> None:
        """Close what is open, such as connections. This is called once, when a run ends, also when it fails."""

    def bucket(self, item: Item) -> int:
        """Return the padded length of an item, which depends on this item alone.

        Only items of one bucket are put into one batch.
        """
        del item
        return 0
